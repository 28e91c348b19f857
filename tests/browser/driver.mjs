// A real browser, driven line by line: a command as JSON on standard input, its answer on standard
// output. It ends with its input. What is looked for, and for how long, is the tests' business.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

// The pages' packages, which is where npm put this one.
const { resolve } = createRequire(new URL('../../web/package.json', import.meta.url))
const { launch } = await import(pathToFileURL(resolve('puppeteer-core')))

// By puppeteer's names. Firefox is driven over WebDriver BiDi, which has no word for the colours that a system prefers.
const KINDS = {
  chrome: {
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--disable-quic',
      '--disable-component-update', '--no-first-run', '--no-proxy-server',
    ],
  },
  firefox: { extraPrefsFirefox: { 'network.proxy.type': 0 } },
}
// All of a dozen cards are in sight: what is out of sight is not drawn.
const VIEWPORT = { width: 1200, height: 1600 }
const [kind, executablePath, profile] = process.argv.slice(2)

const browser = await launch({
  browser: kind, executablePath, userDataDir: profile, defaultViewport: VIEWPORT, ...KINDS[kind],
})
// Evaluated, not added as a script: that the pages' Content-Security-Policy refuses.
const axe = readFileSync(resolve('axe-core/axe.min.js'), 'utf8')
let page
let problems

const commands = {
  /** A new tab in place of the one before; `before` is a script that runs ahead of the page's own. */
  async open({ url, scheme, before }) {
    await page?.close()
    page = await browser.newPage()
    problems = { console: [], thrown: [], foreign: [], failed: [] }
    const { origin } = new URL(url)
    page.on('console', message => { if (['error', 'warn'].includes(message.type())) problems.console.push(message.text()) })
    page.on('pageerror', error => problems.thrown.push(String(error)))
    page.on('request', request => { if (!request.url().startsWith(`${origin}/`)) problems.foreign.push(request.url()) })
    page.on('response', answer => { if (answer.status() >= 400) problems.failed.push(`${answer.status()} ${answer.url()}`) })
    if (kind === 'chrome') await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
    if (before) await page.evaluateOnNewDocument(before)
    await page.goto(url, { waitUntil: 'domcontentloaded' })
  },
  /** What an expression is in the page; a promise is awaited. */
  evaluate: ({ expression }) => page.evaluate(expression),
  click: ({ selector }) => page.click(selector),
  press: ({ key }) => page.keyboard.press(key),
  /** In place of what stands there. */
  async type({ selector, text }) {
    await page.$eval(selector, field => field.select())
    await page.type(selector, text)
  },
  resize: ({ width, height }) => page.setViewport({ width, height }),
  /** What axe finds wrong: the rule and where it is broken. */
  async violations() {
    await page.evaluate(axe)
    const { violations } = await page.evaluate('axe.run()')
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`))
  },
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
