"""What the API's endpoints take, and how a model server's answers are read for each of them.

base           what a dialect is
chat           chat completions: fields; usual_chat, the quick way; chat_messages, their checks
chat_answers   answers of chat and of text completions
completions    text completions
embeddings     vectors
"""
