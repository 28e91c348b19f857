// A real browser, driven line by line: a command as JSON on standard input, its answer on standard
// output. It ends with its input. What is looked for, and for how long, is the tests' business.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

// The pages' packages, which is where npm put this one.
const { resolve } = createRequire(new URL('../../web/package.json', import.meta.url))
const { launch } = await import(pathToFileURL(resolve('puppeteer-core')))

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--disable-quic',
  '--disable-component-update', '--no-first-run', '--no-proxy-server',
]
// All of a dozen cards are in sight: what is out of sight is not drawn.
const VIEWPORT = { width: 1200, height: 1600 }
const [executablePath, profile] = process.argv.slice(2)

const browser = await launch({ executablePath, userDataDir: profile, args: FLAGS, defaultViewport: VIEWPORT })
let page
let problems

const commands = {
  /** A new tab in place of the one before. */
  async open({ url, scheme }) {
    await page?.close()
    page = await browser.newPage()
    problems = { console: [], thrown: [], foreign: [], failed: [] }
    const { origin } = new URL(url)
    page.on('console', message => { if (['error', 'warn'].includes(message.type())) problems.console.push(message.text()) })
    page.on('pageerror', error => problems.thrown.push(String(error)))
    page.on('request', request => { if (!request.url().startsWith(`${origin}/`)) problems.foreign.push(request.url()) })
    page.on('response', answer => { if (answer.status() >= 400) problems.failed.push(`${answer.status()} ${answer.url()}`) })
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
    await page.goto(url, { waitUntil: 'domcontentloaded' })
  },
  /** What an expression is in the page; a promise is awaited. */
  evaluate: ({ expression }) => page.evaluate(expression),
  click: ({ selector }) => page.click(selector),
  press: ({ key }) => page.keyboard.press(key),
  screenshot: ({ path }) => page.screenshot({ path }).then(() => null),
  problems: () => problems,
}

console.log(JSON.stringify({ ok: await browser.version() }))
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...options } = JSON.parse(line)
  try {
    console.log(JSON.stringify({ ok: (await commands[name](options)) ?? null }))
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }))
  }
}
await browser.close()
