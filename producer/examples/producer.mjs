import { Push } from 'zeromq'

const push = new Push()
push.connect(process.env.PENSTOCK_PRODUCER__PUSH ?? 'tcp://127.0.0.1:5558')
for (let step = 1; step <= 20; step++) await push.send(['build/progress', JSON.stringify({ step, of: 20 })])
