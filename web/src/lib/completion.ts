/** One answer's stream: what the server sends, as what it means. */
import { ApiError, ask, errorIn } from './api'
import { events } from './sse'
import type { Figures, Settings } from './types'

export interface Question {
  model: string | undefined
  messages: { role: string; content: string }[]
  settings: Settings
}

/** The body of a request, without what is the server's to choose. */
export function bodyOf({ model, messages, settings }: Question): Record<string, unknown> {
  const { system: _, thinking, stop, ...numbers } = settings
  return {
    ...(model === undefined ? {} : { model }),
    messages,
    ...numbers,
    ...(stop?.length ? { stop } : {}),
    ...(thinking === undefined ? {} : { chat_template_kwargs: { enable_thinking: thinking } }),
  }
}

interface Chunk {
  choices?: { delta?: { content?: string | null; reasoning_content?: string | null; reasoning?: string | null }; finish_reason?: string | null }[]
  usage?: { prompt_tokens: number; completion_tokens: number; prompt_tokens_details?: { cached_tokens?: number } } | null
}

/** Arrivals that tell a speed. Of fewer, as where something between holds an answer back, only the whole time means anything. */
const FEWEST = 4

/** An answer as it comes. Times are `performance.now()`. */
export class Completion {
  content = ''
  reasoning = ''
  finish: string | null = null
  #pieces = 0
  #arrivals = 0
  #asked = 0
  #first = 0
  #last = 0
  #answered = 0
  #usage: Chunk['usage'] = null

  /** Whether anything came. */
  get begun(): boolean {
    return this.#pieces > 0
  }

  /** Ask, and call `changed` whenever more has come. Throws ApiError, Away, and what ends a stream early. */
  async run(question: Question, signal: AbortSignal, changed: () => void): Promise<void> {
    this.#asked = performance.now()
    const body = { ...bodyOf(question), stream: true, stream_options: { include_usage: true } }
    const response = await ask('/v1/chat/completions', body, signal)
    if (!response.body) throw new ApiError(500, 'The server sent no stream.')
    for await (const data of events(response.body)) {
      if (data === '[DONE]') return
      const chunk = JSON.parse(data) as Chunk
      const error = errorIn(chunk)
      if (error) throw new ApiError(500, error.message, error.code)
      if (this.#take(chunk)) changed()
    }
  }

  #take(chunk: Chunk): boolean {
    this.#usage = chunk.usage ?? this.#usage
    const choice = chunk.choices?.[0]
    this.finish = choice?.finish_reason ?? this.finish
    const text = choice?.delta?.content ?? ''
    const thought = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning ?? ''
    if (!text && !thought) return false
    const now = performance.now()
    if (now - this.#last > 1) this.#arrivals += 1
    this.#last = now
    this.#first ||= this.#last
    if (text) this.#answered ||= this.#last
    this.#pieces += 1
    this.content += text
    this.reasoning += thought
    return true
  }

  get figures(): Figures {
    const usage = this.#usage
    const found: Figures = { tokens: usage?.completion_tokens ?? this.#pieces, counted: Boolean(usage) }
    if (usage) {
      found.promptTokens = usage.prompt_tokens
      found.cachedTokens = usage.prompt_tokens_details?.cached_tokens ?? 0
    }
    if (this.#first) {
      found.first = (this.#first - this.#asked) / 1000
      if (this.#arrivals >= FEWEST) found.seconds = (this.#last - this.#first) / 1000
    }
    return found
  }

  /** Seconds of reasoning. */
  get thought(): number | undefined {
    return this.reasoning ? ((this.#answered || this.#last) - this.#first) / 1000 : undefined
  }
}
