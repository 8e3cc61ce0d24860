// Writes down what the bundle was built of, so that a test can tell when it is stale: tests/page/test_page_digest.py reads it the same way.
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'

const files = ['index.html', 'package.json', 'package-lock.json', 'tsconfig.json', 'vite.config.ts', 'digest.mjs']
for (const folder of ['public', 'src']) {
  for (const found of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (found.isFile()) files.push(`${found.parentPath}/${found.name}`.replaceAll('\\', '/'))
  }
}
const digest = createHash('sha256')
for (const file of files.sort()) digest.update(`${file}\0`).update(readFileSync(file, 'utf8').replaceAll('\r\n', '\n')).update('\0')
writeFileSync('../heron/page/sources.sha256', `${digest.digest('hex')}\n`)
