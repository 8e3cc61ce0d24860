import { expect, test } from 'vitest'
import { checked, checkedSettings } from '../src/lib/checked'

const one = { id: 'c', title: 't', messages: [{ id: 'q', parent: null, role: 'user', content: 'x', created: 1 }] }

test('what is none is no conversation', () => {
  for (const value of [null, 1, 'x', [], {}, { id: 1, messages: [] }, { id: 'c' }, { ...one, messages: [one.messages[0], one.messages[0]] }])
    expect(checked(value)).toBeNull()
})

test('what is missing is made good', () => {
  const found = checked({ ...one, leaf: 'nowhere', messages: [...one.messages, { id: 'a', parent: 'gone', role: 'assistant', content: '' }] })!
  expect(found.leaf).toBe('a')
  expect(found.messages[1]).toMatchObject({ parent: null, ending: 'cut' })
  expect(found.settings).toEqual({})
})

test('settings are numbers and texts', () => {
  expect(checkedSettings({ temperature: '1', top_k: 4, seed: NaN, stop: ['a', 1, ''], system: {}, thinking: false, other: 1 })).toEqual({
    top_k: 4,
    stop: ['a'],
    thinking: false,
  })
})
