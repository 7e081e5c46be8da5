"""What the API's endpoints take, and how a model server's answers are read for each of them.

base           what a dialect is
chat           chat completions: fields; usual_chat, the quick way; chat_messages, their checks
chat_answers   answers of chat and of text completions
completions    text completions
embeddings     vectors
responses      responses: fields; response_items, their checks; response_draft and
               response_stream, how a response is said in whole and as events;
               responses_answers, of upstreams that speak them; responses_as_chat and
               responses_adapter, of those that speak only chat
messages       Anthropic's messages: fields; message_blocks, their checks; messages_answers, their
               answers; messages_errors, refusals; messages_as_chat and messages_adapter, calls
               and answers where the upstream speaks only chat
"""
