import { expect, test } from 'vitest'
import { add, asked, choose, path, siblings, titleOf } from '../src/lib/tree'
import type { Conversation, Message } from '../src/lib/types'

const message = (id: string, parent: string | null, role: Message['role'] = 'user'): Message => ({ id, parent, role, content: id, created: 0 })

const empty: Conversation = { id: 'c', title: '', named: false, created: 0, updated: 0, model: null, settings: {}, messages: [], leaf: null }
const said = [message('q', null), message('a', 'q', 'assistant'), message('b', 'q', 'assistant'), message('q2', 'b'), message('c', 'q2', 'assistant')]
const tree = said.reduce(add, empty)
const ids = (conversation: Conversation): string[] => path(conversation).map((one) => one.id)

test('the latest branch is read', () => {
  expect(ids(tree)).toEqual(['q', 'b', 'q2', 'c'])
  expect(siblings(tree, said[2]!).map((one) => one.id)).toEqual(['a', 'b'])
})

test('another branch is read down to its end, and back', () => {
  expect(ids(choose(tree, 'a'))).toEqual(['q', 'a'])
  expect(ids(choose(choose(tree, 'a'), 'b'))).toEqual(['q', 'b', 'q2', 'c'])
})

test('a circle comes to its end', () => {
  const circle = { ...tree, messages: [message('x', 'y'), message('y', 'x')], leaf: 'x' }
  expect(ids(circle)).toEqual(['y', 'x'])
  expect(choose(circle, 'x').leaf).toBe('y')
})

test('what is asked alternates', () => {
  const none = { ...message('n', 'q', 'assistant'), content: '' }
  expect(asked('Be brief.', [said[0]!, none, message('q3', 'n')])).toEqual([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'q\n\nq3' },
  ])
  expect(asked('  ', [said[0]!])).toEqual([{ role: 'user', content: 'q' }])
})

test('titles', () => {
  expect(titleOf('\n  ## What   is it?\nmore')).toBe('What is it?')
  expect(titleOf('x'.repeat(100))).toHaveLength(60)
  expect(titleOf('')).toBe('New chat')
})
