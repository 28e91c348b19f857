"""F16: the broker is restarted, the gateways are killed, and everybody comes back at once."""

from __future__ import annotations

from tests.faults.metrics import Lag
from tests.faults.stage import stage
from tests.faults.times import quantile
from tests.faults.verdict import Verdict

BACK_S = 30.0
LAG_MS = 250.0


def storm(seed: int, brief: bool = False) -> Verdict:
    clients = 200 if brief else 5_000
    with stage("F16", f"{clients} clients come back at once", seed, brief=brief) as on:
        # As patient as a browser: an answer that is late is no reason to come again.
        on.follow(count=clients, ask_s=15, silence_s=25)
        on.produce(kind="confirmed", rate=5, topics=3)
        on.pass_events(10)
        killed_s = on.note("kill -9 of the broker and both gateways")
        on.broker.kill()
        for gateway in on.gateways:
            gateway.kill()
        for each in (on.broker, *on.gateways):  # together, as supervisord starts them
            each.launch()
        for each in (on.broker, *on.gateways):
            each.await_ready()
        with Lag(on.gateways) as lag:
            on.note("all run again")
            on.crowds[0].settle(120)
            back_s = on.note("all are back") - killed_s
            on.pass_events(20)
        verdict = on.judge()
        verdict.back_s = back_s
        on.measure("all back", back_s, "s", at_most=BACK_S)
        on.measure("loop lag p99", quantile(lag.samples_ms, 0.99), "ms", at_most=LAG_MS)
        on.measure("loop lag at most", lag.samples_ms[-1] if lag.samples_ms else 0.0, "ms")
        return verdict
