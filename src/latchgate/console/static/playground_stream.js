/** The events of a stream of server-sent events (HTML standard, 9.2.6), each decoded; the last is "[DONE]". */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      yield data === "[DONE]" ? data : JSON.parse(data);
    }
  }
}
