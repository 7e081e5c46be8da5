const CONVERSATIONS_MAX = 20;
const CHARS_MAX = 300_000;

/** Conversations in this browser alone, the newest first, within bounds; one list for each account. */
export class History {
  #key;

  constructor(key) {
    this.#key = key;
  }

  list() {
    try {
      const kept = JSON.parse(localStorage.getItem(this.#key) ?? "[]");
      return Array.isArray(kept) ? kept.filter(({ turns }) => turns?.length > 0) : [];
    } catch { // what cannot be read is nothing of ours
      return [];
    }
  }

  keep(conversation) {
    const kept = [conversation, ...this.list().filter(({ id }) => id !== conversation.id)].slice(0, CONVERSATIONS_MAX);
    while (kept.length > 0) {
      const text = JSON.stringify(kept);
      try {
        if (text.length <= CHARS_MAX) return localStorage.setItem(this.#key, text);
      } catch { // the browser has less room, or keeps nothing at all
      }
      kept.pop();
    }
    return undefined;
  }

  clear() {
    localStorage.removeItem(this.#key);
  }
}
