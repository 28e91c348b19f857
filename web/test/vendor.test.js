// What the gateway serves of others' files: the version in the path is the one that is installed, so
// that "immutable" is true.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const here = new URL('../', import.meta.url)
const read = path => JSON.parse(readFileSync(new URL(path, here)))

for (const [path, file] of Object.entries(read('vendor.json'))) {
  test(`${path} is of the pinned version`, () => {
    const name = file.split('/')[0]
    const version = read('package.json').dependencies[name]
    // The client of Socket.IO also has the address at which its own server has it, and is not kept from there.
    if (!path.startsWith('/socket.io/')) assert.match(path, new RegExp(`^/lib/${name}-${version.replaceAll('.', '\\.')}/`))
    assert.ok(existsSync(new URL(`node_modules/${file}`, here)))
  })
}
