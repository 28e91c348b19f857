// The live page: every topic that is active, as it happens.

import { connect, State } from '../penstock.js'
import { matcher } from '../penstock/patterns.js'
import { isSilent } from '../penstock/states.js'
import { Board } from './board.js'
import { ServerClock } from './clock.js'
import { compact, counted, latency } from './format.js'
import { Lag, lagInWords } from './lag.js'
import { remember, remembered } from './memory.js'
import { Pace } from './pace.js'
import { showState } from './pill.js'
import { Rate } from './rate.js'
import { followTheme } from './theme.js'
import { Topic } from './topic.js'
import { View } from './view.js'

const HISTORY = 200
const PING_EVERY_MS = 20_000
const HEADER_EVERY_MS = 500
const GAP_SHOWN_MS = 60_000
const LATENCY_MS = 10_000

const byId = id => document.getElementById(id)
const now = () => performance.now()

const clock = new ServerClock(performance.timeOrigin)
const nowS = () => clock.nowS(now())
const view = new View(10)
const rate = new Rate()
const lag = new Lag()
const pace = new Pace()
const board = new Board({ grid: byId('grid'), more: byId('more'), none: byId('no-match') }, nowS)
const feed = connect()

/** What comes is of now: the past that was asked for has been delivered. */
let isLive = false
let stop = follow({ history: HISTORY })

/** Everything that happens, or as much of it as the pace is. @param {{history?: number, since?: string}} past */
function follow(past) {
  const { delivery, isSpared } = pace
  return feed.subscribe('**', {
    ...past,
    delivery,
    onEvent(event) {
      const heardMs = now()
      if (isLive && clock.errorS(heardMs) < Infinity) lag.add(nowS() - event.time, heardMs)
      const topic = board.topic(event.topic, name => new Topic(name))
      const count = topic ? topic.take(event, isSpared) : 1
      if (count > 1) pace.spared(heardMs)
      rate.add(event.time, count)
      view.count(count)
    },
    onGap(gap) {
      // Holes within one log show by the topic's own count; between two logs nothing can be counted.
      if (gap.after.epoch !== gap.before.epoch) for (const topic of board.matching(matcher(gap.pattern))) topic.tear()
      tell(gap)
    },
    onLive({ truncated }) {
      isLive = true
      board.settle()
      byId('loading').hidden = true
      if (truncated) fetchQuiet()
    },
    onError({ message }) {
      byId('loading').textContent = `The gateway refused: ${message}`
    },
  })
}

/** Ask for less while everything is too much. */
function keepPace() {
  // Silence is no reason for less: who comes back after it wants what it missed. But it is none for more.
  const isBehind = isLate() || feed.state.slow || (pace.isSpared && isSilent(feed.state))
  if (!isLive || !pace.turn(isBehind, now())) return
  const since = feed.position
  stop()
  isLive = false
  stop = follow({ since })
}

/** The busiest topics filled all the history that one subscription gets: ask for the last event of the others. */
function fetchQuiet() {
  const stop = feed.subscribe('**', {
    history: 1,
    onEvent(event) {
      if (!board.has(event.topic)) board.topic(event.topic, name => new Topic(name))?.take(event)
    },
    onLive: () => stop(),
  })
}

let isConnected = false
showState(byId('state'), byId('retry'), feed, () => lagInWords({
  behindS: isLive && isLate() ? lag.ageS(0.5, now()) : null,
  isSpared: pace.isSpared,
}, feed.stateText))
feed.onState(state => {
  byId('stale').hidden = !state.stale
  byId('loading').hidden = board.isSettled || state.stale === true
  if (state.name !== State.CONNECTED) isLive = false
  const wasConnected = isConnected
  isConnected = state.name === State.CONNECTED
  if (isConnected && !wasConnected) measureClock()
  writeHeader()
})
followTheme(byId('theme'), () => board.restyle())

function isLate() {
  return lag.isBehind(now(), clock.errorS(now()))
}

async function measureClock() {
  const answer = await feed.ping()
  if (answer) clock.add(answer, now())
}
setInterval(measureClock, PING_EVERY_MS)

let gapTimer
function tell({ pattern, cause, lost }) {
  const what = lost ? `${counted(lost, 'event')} lost` : 'events lost'
  byId('gap').textContent = cause === 'epoch' ? `gap: the broker's log began anew` : `gap: ${what} in ${pattern} (${cause})`
  byId('gap').hidden = false
  clearTimeout(gapTimer)
  gapTimer = setTimeout(() => { byId('gap').hidden = true }, GAP_SHOWN_MS)
}

function writeHeader() {
  // What came before a break is no rate of now.
  byId('rate').textContent = compact(isConnected ? Math.round(rate.at(nowS())) : 0)
  const [half, most] = [0.5, 0.99].map(part => latency(lag.ageS(part, now(), LATENCY_MS)))
  byId('latency').textContent = half
  byId('latency').parentElement.title = `From the broker to this page; of 99 % of the events at most ${most}`
  byId('topics').textContent = compact(board.topicCount) + (board.isFull ? '+' : '')
  byId('topics-noun').textContent = board.topicCount === 1 ? 'topic' : 'topics'
  byId('empty').hidden = !board.isSettled || board.topicCount > 0
  byId('pause-text').textContent = view.isPaused ? `Paused - ${view.missed.toLocaleString('en')} new` : 'Pause'
}
setInterval(() => {
  keepPace()
  writeHeader()
}, HEADER_EVERY_MS)

function togglePause() {
  view.toggle(nowS())
  byId('pause').setAttribute('aria-pressed', String(view.isPaused))
  board.invalidate()
  writeHeader()
}
byId('pause').addEventListener('click', togglePause)
addEventListener('keydown', event => {
  const isElsewhere = event.target.closest?.('input, button, select, textarea, a, [contenteditable]')
  if (event.key !== ' ' || isElsewhere || event.ctrlKey || event.altKey || event.metaKey) return
  event.preventDefault()
  togglePause()
})

for (const choice of document.querySelectorAll('input[name="window"]')) {
  const follow = () => {
    view.windowS = Number(choice.value)
    board.invalidate()
  }
  choice.addEventListener('change', () => {
    remember('window', choice.value)
    follow()
  })
  if (choice.value === remembered('window')) choice.checked = true
  // A reload keeps the choice in some browsers, without storage too.
  if (choice.checked) follow()
}

byId('search').addEventListener('input', ({ target }) => board.filter(target.value))

// Without a secure origin there is no clipboard; the snippet can still be marked by hand.
byId('copy').hidden = !navigator.clipboard
byId('copy').addEventListener('click', async () => {
  await navigator.clipboard.writeText(byId('snippet').textContent)
  byId('copy').textContent = 'Copied'
})

function frame(frameMs) {
  // Browsers stop animation frames of hidden pages by themselves; some do it late.
  if (!document.hidden) board.draw(view.stretch(nowS()), frameMs)
  requestAnimationFrame(frame)
}
requestAnimationFrame(frame)
