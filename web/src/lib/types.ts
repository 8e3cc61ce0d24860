/** What is kept: conversations are trees of messages, and `leaf` says which branch is being read. */

/** How an answer came to its end. `cut`: the connection did, in its midst. */
export type Ending = 'stop' | 'length' | 'stopped' | 'cut' | 'error'

/** Of one answer. Times in seconds. */
export interface Figures {
  tokens: number
  /** False where the server did not get to count: then `tokens` are the pieces that came. */
  counted: boolean
  promptTokens?: number
  cachedTokens?: number
  /** From the question to the first piece. */
  first?: number
  /** From the first piece to the last, where they did not come all at once. */
  seconds?: number
}

export interface Message {
  id: string
  parent: string | null
  role: 'user' | 'assistant'
  content: string
  created: number
  reasoning?: string
  /** How long it thought, in seconds. */
  thought?: number
  model?: string
  ending?: Ending
  error?: string
  figures?: Figures
}

/** What is left out is the server's to choose. */
export interface Settings {
  system?: string
  temperature?: number
  top_p?: number
  top_k?: number
  min_p?: number
  repeat_penalty?: number
  max_tokens?: number
  seed?: number
  stop?: string[]
  thinking?: boolean
}

export interface Conversation {
  id: string
  title: string
  /** Whether the reader gave the title. */
  named: boolean
  created: number
  updated: number
  model: string | null
  settings: Settings
  messages: Message[]
  leaf: string | null
}

export interface Model {
  id: string
  context_length?: number
  capabilities?: string[]
  status?: 'loaded' | 'loading' | 'unloaded'
  bytes?: number
}
