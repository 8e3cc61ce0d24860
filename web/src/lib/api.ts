/** Asking the server, and what it says when it will not. */
import { apiKey } from './prefs'

/** An answer that is an error. `retryAfter` in seconds. */
export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly retryAfter: number | null

  constructor(status: number, message: string, code = '', retryAfter: number | null = null) {
    super(message)
    this.status = status
    this.code = code
    this.retryAfter = retryAfter
  }
}

/** Nobody answers. */
export class Away extends Error {}

/** The response. Throws ApiError, Away, and what an aborted fetch throws. */
export async function ask(path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {}
  if (apiKey.get()) headers['authorization'] = `Bearer ${apiKey.get()}`
  if (body !== undefined) headers['content-type'] = 'application/json'
  const how: RequestInit = { method: body === undefined ? 'GET' : 'POST', headers, signal: signal ?? null, cache: 'no-store' }
  if (body !== undefined) how.body = JSON.stringify(body)
  let response: Response
  try {
    response = await fetch(path, how)
  } catch (error) {
    if (signal?.aborted) throw error
    throw new Away('The server cannot be reached.')
  }
  if (!response.ok) throw await refusal(response)
  return response
}

async function refusal(response: Response): Promise<Error> {
  const after = Number(response.headers.get('retry-after') ?? NaN)
  const retryAfter = Number.isFinite(after) && after >= 0 ? after : null
  let told: unknown
  try {
    told = await response.json()
  } catch {
    // A proxy's error page: before a server that is away, it speaks in its place.
    if ([502, 504].includes(response.status)) return new Away('The server cannot be reached.')
  }
  const { message, code } = errorIn(told) ?? { message: `The server answered with status ${response.status}.`, code: '' }
  return new ApiError(response.status, message, code, retryAfter)
}

/** The error that an answer or an event is, if it is one. */
export function errorIn(value: unknown): { message: string; code: string } | null {
  const error = (value as { error?: unknown } | null)?.error
  if (!error) return null
  if (typeof error === 'string') return { message: error, code: '' }
  const { message, code } = error as { message?: unknown; code?: unknown }
  return { message: String(message ?? 'The server failed.'), code: String(code ?? '') }
}
