/** Server-sent events: bytes in, the data of each event out. */

/** Takes text in pieces of any size; events, lines and CR LF may be cut anywhere. */
export class EventParser {
  #rest = ''
  #data: string[] = []

  /** The data of the events that are complete now. */
  push(text: string): string[] {
    const found: string[] = []
    const all = this.#rest + text
    // A CR at the end may be half of a CR LF.
    const held = all.endsWith('\r') ? '\r' : ''
    const lines = all.slice(0, all.length - held.length).split(/\r\n|\n|\r/)
    this.#rest = (lines.pop() ?? '') + held
    for (const line of lines) {
      if (line === '') {
        if (this.#data.length) found.push(this.#data.join('\n'))
        this.#data = []
      } else if (line.startsWith('data:')) {
        this.#data.push(line.slice(line.startsWith('data: ') ? 6 : 5))
      } // comments, and fields that are of no use here
    }
    return found
  }
}

/** The data of each event of a response, as they come. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const parser = new EventParser()
  const decoder = new TextDecoder()
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      yield* parser.push(done ? decoder.decode() : decoder.decode(value, { stream: true }))
      if (done) return
    }
  } finally {
    reader.releaseLock()
  }
}
