import { expect, test } from 'vitest'
import { EventParser, events } from '../src/lib/sse'

const STREAM = ': ping\n\ndata: {"a": 1}\n\nevent: x\r\ndata: one\r\ndata:two\r\n\r\nid: 3\n\ndata: [DONE]\n\n'
const MEANT = ['{"a": 1}', 'one\ntwo', '[DONE]']

test('events are the same wherever the stream is cut', () => {
  for (let size = 1; size <= STREAM.length; size++) {
    const parser = new EventParser()
    const found: string[] = []
    for (let at = 0; at < STREAM.length; at += size) found.push(...parser.push(STREAM.slice(at, at + size)))
    expect(found).toEqual(MEANT)
  }
})

test('an event that is not finished is none', () => {
  expect(new EventParser().push('data: half')).toEqual([])
})

test('characters may be cut too', async () => {
  const bytes = new TextEncoder().encode('data: 🪶é\n\n')
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte))
      controller.close()
    },
  })
  const found: string[] = []
  for await (const data of events(body)) found.push(data)
  expect(found).toEqual(['🪶é'])
})
