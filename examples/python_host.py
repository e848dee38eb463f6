"""A service that a sidecar can tune, with nothing but Python's standard library: proof that the control API needs no Rust.

    python3 examples/python_host.py DIRECTORY [PORT]     then     trimtab run --socket DIRECTORY/control.sock

`Pool` is the service's: threads that do its work. `Rules` is what the control API asks of a host, at conformance level 2.
At the end are the two sockets and the service's own HTTP port, which hashes a password and waits for something, as services do.
"""
import collections, hashlib, http.server, json, math, os, secrets, socket, socketserver, struct, sys, threading, time

MS, S = 1_000_000, 1_000_000_000  # nanoseconds
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 8080


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps, and so do leases


def left_ms(until):
    return max(0, -(-(until - now()) // MS))


class Problem(Exception):
    """A refusal; whatever was refused changed nothing."""
    STATUS = {"malformed": 400, "forbidden": 403, "unknown": 404, "method": 405, "stale": 409, "leased": 409, "too-large": 413,
              "media-type": 415, "value": 422, "frozen": 423, "pinned": 423, "too-soon": 429}

    def __init__(self, kind, detail, **more):
        self.status = self.STATUS[kind]
        self.body = {"type": f"urn:trimtab:problem:{kind}", "title": kind, "status": self.status, "detail": detail, **more}


class Pool:
    """Workers that can become more or fewer while they work: a thread above the number goes when its job is done."""

    def __init__(self, knobs):
        self.knobs, self.lock = knobs, threading.Condition(threading.RLock())
        self.rules, self.queue, self.threads, self.busy, self.touched = None, collections.deque(), 0, 0, now()
        self.counters = collections.Counter(dict.fromkeys(
            "arrived started completed failed rejected timed_out abandoned busy_us wait_us".split(), 0))
        self.histograms = {name: {"buckets": collections.Counter(), "count": 0, "sum_us": 0}
                           for name in "total_us wait_us service_us timeout_us".split()}

    def fit(self):
        """Called whenever a knob was set."""
        while self.threads < self.knobs["workers"]["value"]:
            self.threads += 1
            threading.Thread(target=self.work, daemon=True).start()
        self.lock.notify_all()

    def touch(self):
        """Integrals of what is busy and of what waits; they rise in a hang as well."""
        passed, self.touched = (now() - self.touched) // 1000, now()
        self.counters["busy_us"] += passed * self.busy
        self.counters["wait_us"] += passed * len(self.queue)

    def record(self, name, ns):
        histogram, us = self.histograms[name], max(1, ns // 1000)
        histogram["buckets"][min(383, math.ceil(8 * math.log2(us)))] += 1  # eight buckets an octave
        histogram["count"], histogram["sum_us"] = histogram["count"] + 1, histogram["sum_us"] + us

    def work(self):
        while True:
            with self.lock:
                while not self.queue and self.threads <= self.knobs["workers"]["value"]:
                    self.lock.wait()
                self.rules.advance()
                if self.threads > self.knobs["workers"]["value"]:
                    self.threads -= 1
                    return
                if not self.queue:
                    continue
                self.touch()
                job = self.queue.popleft()
                self.busy, job["began"] = self.busy + 1, now()
                self.counters["started"] += 1
            try:
                result, ending = job["work"](), "completed"
            except Exception as error:
                result, ending = error, "failed"
            with self.lock:
                self.touch()
                self.busy -= 1
                if not job["late"]:
                    job["result"] = result
                    self.counters[ending] += 1
                    if ending == "completed":
                        self.record("total_us", now() - job["came"])
                        self.record("wait_us", job["began"] - job["came"])
                        self.record("service_us", now() - job["began"])
            job["done"].set()

    def run(self, work):
        """Does a piece of work: a status, and what came of it."""
        job = {"work": work, "came": now(), "done": threading.Event(), "late": False}
        with self.lock:
            self.rules.advance()
            self.counters["arrived"] += 1
            if self.busy + len(self.queue) >= self.knobs["workers"]["value"] + self.knobs["queue_limit"]["value"]:
                self.counters["rejected"] += 1
                return 503, None
            self.touch()
            self.queue.append(job)
            self.lock.notify()
            timeout = self.knobs["timeout_ms"]["value"] / 1000
        job["done"].wait(timeout)
        with self.lock:
            if "result" in job:
                return (500, None) if isinstance(job["result"], Exception) else (200, job["result"])
            self.touch()
            job["late"] = True  # a thread cannot be stopped; what it still yields counts for nothing
            if job in self.queue:
                self.queue.remove(job)
            self.counters["timed_out"] += 1
            self.record("timeout_us", now() - job["came"])
            return 504, None

    def figures(self):
        self.touch()
        effective = {"workers": max(self.threads, self.busy)}
        oldest = (now() - self.queue[0]["came"]) // MS if self.queue else 0
        return effective, {"counters": self.counters, "histograms": self.histograms,
                           "gauges": {"busy": self.busy, "queued": len(self.queue), "oldest_wait_ms": oldest}}


def knob(value, low, high, unit, kind="integer"):
    return {"value": value, "baseline": value, "min": low, "max": high, "unit": unit, "kind": kind, "granularity": 1, "max_ratio_bp": 20_000,
            "shrink": "drains", "persists": False}


class Rules:
    """Who may change what, and when it is undone. Every method runs under the pool's lock."""

    def __init__(self, name, pool, freeze_file):
        self.name, self.pool, self.knobs, self.freeze_file = name, pool, pool.knobs, freeze_file
        self.instance, self.epoch, self.generation, self.revision = secrets.token_hex(12), 0, 0, 1
        self.lease = self.trial = None
        self.unleased, self.recent, self.proven = now(), [], []
        self.outcomes, self.pins = collections.OrderedDict(), {}
        self.confirmed = {name: knob["value"] for name, knob in self.knobs.items()}
        self.frozen, self.started = os.path.exists(freeze_file), now()

    # What stands, what is undone, and what happens by itself.

    def values(self):
        return {name: knob["value"] for name, knob in self.knobs.items()}

    def set(self, values):
        if any(self.knobs[name]["value"] != value for name, value in values.items()):
            self.revision += 1
            for name, value in values.items():
                self.knobs[name]["value"] = value
            self.pool.fit()

    def end_trial(self, status, keep=()):
        """Undoes the open trial, but for knobs that somebody else has set since."""
        if self.trial:
            trial, self.trial = self.trial, None
            self.outcomes[trial["generation"]]["status"] = status
            self.set({name: value for name, value in trial["before"].items() if name not in keep})

    def advance(self):
        """Ends what is over. It is called before any request is judged and before any work starts, and by a timer."""
        if self.lease and now() >= self.lease["until"]:
            self.lease, self.unleased = None, self.lease["until"]
        if self.trial and (not self.lease or now() >= self.trial["until"]):
            self.end_trial("expired")
        for name in [name for name, until in self.pins.items() if now() >= until and not self.frozen]:
            self.unpin(self.name, name)
        if not self.lease and not self.frozen and now() >= self.unleased + 24 * 3600 * S:  # nobody tunes: home, in steps
            self.unleased += 30 * S
            home = {n: min(max(k["baseline"], -(-k["value"] // 2)), k["value"] * 2) for n, k in self.knobs.items() if n not in self.pins}
            self.confirmed.update(home)
            self.set(home)

    # Who may.

    def stale(self, detail, fence=None, pool=None, **more):
        force = {"instance": self.instance, "epoch": self.epoch, "generation": self.generation}
        more |= {"fence": fence} if fence else {}
        more |= {"pool": pool} if pool else {}
        return Problem("stale", detail, in_force=force | ({"revision": self.revision} if pool == self.name else {}), **more)

    def check_instance(self, request):
        if request["instance"] != self.instance:
            raise self.stale("the host was restarted", "instance")

    def check_epoch(self, epoch, pool=None):
        if not self.lease or self.lease["epoch"] != epoch:
            raise self.stale(f"epoch {epoch} does not hold the lease", "epoch", pool)

    def check_pool(self, pool):
        if pool != self.name:
            raise Problem("unknown", f"there is no pool {pool}", pool=pool)

    def check_value(self, name, value, step=True):
        knob = self.knobs[name]
        low, high = knob["min"], knob["max"]
        if step:
            low = max(low, min(-(-knob["value"] // 2), knob["value"] - 1))
            high = min(high, max(knob["value"] * 2, knob["value"] + 1))
        if not isinstance(value, int) or not low <= value <= high:
            allowed = {"knob": name, "value": value, "min": low, "max": high, "granularity": 1}
            raise Problem("value", f"{name} takes {low} to {high} now", allowed=allowed, pool=self.name)

    # What a sidecar asks.

    def take_lease(self, instance: str, holder: str, ttl_ms: int, epoch: int = None):
        self.check_instance({"instance": instance})
        if not 500 <= ttl_ms <= 60_000 or not 1 <= len(holder.encode()) <= 256:
            raise Problem("value", "ttl_ms is 500 to 60000, holder 1 to 256 bytes")
        if epoch is not None:
            self.check_epoch(epoch)
        if self.lease and self.lease["holder"] != holder:
            raise Problem("leased", "another holds it", holder=self.lease["holder"], retry_after_ms=left_ms(self.lease["until"]))
        if epoch is None:
            self.end_trial("rolled_back")
            self.epoch += 1
        self.lease = {"holder": holder, "epoch": self.epoch, "until": now() + ttl_ms * MS}
        return {"epoch": self.epoch, "expires_in_ms": ttl_ms}

    def release_lease(self, instance: str, epoch: int):
        self.check_instance({"instance": instance})
        if self.lease or epoch != self.epoch:
            self.check_epoch(epoch)
            self.end_trial("rolled_back")
            self.lease, self.unleased = None, now()

    def change(self, instance: str, epoch: int, generation: int, pool: str, base_revision: int, trial_ms: int, set: dict, reason: str):
        request = {name: value for name, value in locals().items() if name != "self"}
        self.check_instance(request)
        known = self.outcomes.get(generation)
        if known and known["request"] == request:
            return known["receipt"]  # a retry gets the first answer
        self.check_epoch(epoch, pool)
        if generation <= self.generation:
            raise self.stale(f"generation {self.generation} was accepted already", "generation", pool)
        self.check_pool(pool)
        self.check_stillness(base_revision)
        self.check_set(trial_ms, set)
        before = {name: self.knobs[name]["value"] for name in set}
        self.recent, self.generation = self.recent[-11:] + [now()], generation
        self.outcomes[generation] = {"request": request, "status": "trial", "endings": {}}
        while len(self.outcomes) > 64:
            self.outcomes.popitem(last=False)
        self.trial = {"generation": generation, "before": before, "until": now() + trial_ms * MS}
        self.set(set)
        receipt = self.receipt(generation, "trial") | {"expires_in_ms": self.trial_ms()}
        self.outcomes[generation]["receipt"] = receipt
        return receipt

    def check_stillness(self, base_revision):
        if self.frozen:
            raise Problem("frozen", "only an operator lifts that")
        if base_revision != self.revision:
            raise self.stale(f"the plan was made on revision {base_revision}", "revision", self.name)
        if self.trial:
            raise self.stale("there is an open trial", None, self.name, retry_after_ms=self.trial_ms())

    def check_set(self, trial_ms, values):
        if not 1_000 <= trial_ms <= 600_000 or not values:
            raise Problem("value", "trial_ms is 1000 to 600000, and set names a knob")
        goal = self.values() | values
        proven = goal in self.proven or goal == {name: knob["baseline"] for name, knob in self.knobs.items()}
        for name, value in values.items():
            if name not in self.knobs:
                raise Problem("unknown", f"there is no knob {name}", pool=self.name)
            if name in self.pins:
                raise Problem("pinned", "an operator holds it", pool=self.name, retry_after_ms=left_ms(self.pins[name]))
            self.check_value(name, value, step=not proven)
        if not proven and len(self.recent) == 12 and now() - self.recent[0] < 60 * S:
            again = left_ms(self.recent[0] + 60 * S)
            raise Problem("too-soon", "12 changes within a minute", pool=self.name, retry_after_ms=again)

    def end(self, ending, generation, instance: str, epoch: int, pool: str):
        self.check_instance({"instance": instance})
        known = self.outcomes.get(generation)
        if not known and 0 < generation <= self.generation:
            raise self.stale(f"change {generation} is not remembered", "generation", pool)
        if not known or pool != self.name:
            raise Problem("unknown", f"there was no change {generation}")
        if (ending, epoch) not in known["endings"]:
            if epoch != known["request"]["epoch"]:
                raise self.stale("the change was made in another epoch", "epoch", pool)
            if known["status"] == "trial":
                self.check_epoch(epoch, pool)
                self.confirm() if ending == "confirm" else self.end_trial("rolled_back")
            receipt = self.receipt(generation, known["status"])
            fits = (known["status"] == "confirmed") == (ending == "confirm")
            known["endings"][ending, epoch] = receipt if fits else self.stale("it ended otherwise", None, pool, receipt=receipt)
        answer = known["endings"][ending, epoch]
        if isinstance(answer, Problem):
            raise answer
        return answer

    def confirm(self):
        trial, self.trial = self.trial, None
        self.outcomes[trial["generation"]]["status"] = "confirmed"
        self.confirmed.update({name: self.knobs[name]["value"] for name in trial["before"]})
        self.proven = [proven for proven in self.proven if proven != self.values()][-63:] + [self.values()]

    # What only an operator asks.

    def freeze(self, reason: str = None):
        self.end_trial("rolled_back")
        self.frozen = True
        with open(self.freeze_file, "w") as file:
            file.write(json.dumps({"reason": reason}))
            os.fsync(file.fileno())
        return self.operator_receipt()

    def unfreeze(self):
        if os.path.exists(self.freeze_file):
            os.remove(self.freeze_file)
        self.frozen = False
        return self.operator_receipt()

    def pin(self, pool, name, value: object, for_ms: int):
        self.check_pool(pool)
        if name not in self.knobs:
            raise Problem("unknown", f"there is no knob {name}", pool=self.name)
        if for_ms == 0:
            raise Problem("value", "for_ms = 0 holds nothing")
        self.check_value(name, value, step=False)
        self.set({name: value})
        self.pins[name] = now() + for_ms * MS
        self.end_trial("superseded", keep=[name])
        return self.operator_receipt()

    def unpin(self, pool, name):
        self.check_pool(pool)
        if name not in self.pins:
            raise Problem("unknown", f"nobody holds {name}")
        del self.pins[name]
        if self.knobs[name]["value"] != self.confirmed[name]:
            self.set({name: self.confirmed[name]})
            self.end_trial("superseded", keep=[name])
        return self.operator_receipt()

    def reset(self, pool: str = None):
        self.check_pool(pool or self.name)
        self.confirmed = {name: knob["baseline"] for name, knob in self.knobs.items()}
        self.pins.clear()
        self.set(self.confirmed)
        self.end_trial("superseded", keep=self.knobs)
        return self.operator_receipt()

    # What is shown.

    def trial_ms(self):
        return left_ms(min(self.trial["until"], self.lease["until"]))

    def operator_receipt(self):
        pools = {self.name: {"revision": self.revision, "values": self.values()}}
        return {"frozen": self.frozen, "freeze_persistent": True, "pools": pools}

    def receipt(self, generation, status):
        effective, _ = self.pool.figures()
        knobs = {name: {"value": value, "effective": effective.get(name, value)} for name, value in self.values().items()}
        settling = any(knob["value"] != knob["effective"] for knob in knobs.values())
        return {"generation": generation, "pool": self.name, "status": status, "revision": self.revision, "settling": settling, "knobs": knobs}

    def state(self):
        effective, figures = self.pool.figures()
        knobs = {name: knob | {"effective": effective.get(name, knob["value"])} for name, knob in self.knobs.items()}
        for name, until in self.pins.items():
            knobs[name]["pinned_for_ms"] = left_ms(until)
        home = all(knob["value"] == knob["baseline"] for knob in self.knobs.values())
        pool = {"kind": "web", "generation": max(self.outcomes, default=0), "revision": self.revision, "knobs": knobs, **figures,
                "phase": "trial" if self.trial else "baseline" if home else "confirmed",
                "settling": any(knob["value"] != knob["effective"] for knob in knobs.values())}
        if self.trial:
            pool["trial"] = {"generation": self.trial["generation"], "before": self.trial["before"], "expires_in_ms": self.trial_ms()}
        state = {"api": 1, "features": ["changes", "lease", "freeze", "pins", "reset"], "app": "python-host", "version": "1",
                 "instance": self.instance, "at_ns": now(), "pid": os.getpid(), "uptime_ms": (now() - self.started) // MS,
                 "epoch": self.epoch, "generation": self.generation, "frozen": self.frozen, "freeze_persistent": True,
                 "process": {"cpu_us": time.process_time_ns() // 1000, "threads": threading.active_count()}, "pools": {self.name: pool}}
        if self.lease:
            state["lease"] = {"holder": self.lease["holder"], "expires_in_ms": left_ms(self.lease["until"])}
        return state


def arguments(function, fields):
    """A body's fields as a call's arguments: all that it needs, of the right type, and no other."""
    taken = function.__annotations__
    needed = list(taken)[: len(taken) - len(function.__defaults__ or ())]
    right = {int: lambda value: type(value) is int and 0 <= value < 2**64, str: lambda value: type(value) is str,
             object: lambda value: type(value) is str or right[int](value),
             dict: lambda value: type(value) is dict and all(map(right[object], value.values()))}
    for name, value in fields.items():
        if name not in taken or not (right[taken[name]](value) or value is None and name not in needed):
            raise Problem("malformed", f"{name} does not belong there")
    if any(name not in fields for name in needed):
        raise Problem("malformed", f"{', '.join(needed)} are needed")
    return fields


def object_of(pairs):
    if len({name for name, _ in pairs}) != len(pairs):
        raise Problem("malformed", "a field is there twice")
    return dict(pairs)


class Control(http.server.BaseHTTPRequestHandler):
    """Who calls, what is called, and how the answer is written."""
    protocol_version, timeout, server_version = "HTTP/1.1", 15, "python-host"

    def calls(self, rules):
        """By path: the method, the call, what of its arguments stands in the path, and whether it is the operator's."""
        parts = self.path.removeprefix("/trimtab/v1/").split("/") if self.path.startswith("/trimtab/v1/") else []
        match parts:
            case ["state"]: return {"GET": (rules.state, (), False)}
            case ["lease"]: return {"POST": (rules.take_lease, (), False), "DELETE": (rules.release_lease, (), False)}
            case ["changes"]: return {"POST": (rules.change, (), False)}
            case ["changes", number, "confirm" | "rollback" as ending] if number.isdecimal():
                return {"POST": (rules.end, (ending, int(number)), False)}
            case ["freeze"]: return {"PUT": (rules.freeze, (), True), "DELETE": (rules.unfreeze, (), True)}
            case ["pins", pool, knob]: return {"PUT": (rules.pin, (pool, knob), True), "DELETE": (rules.unpin, (pool, knob), True)}
            case ["reset"]: return {"POST": (rules.reset, (), True)}
        raise Problem("unknown", "there is nothing here")

    def answer(self):
        text = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 4 << 20))
        _, peer, _ = struct.unpack("3i", self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if peer not in (0, os.getuid()):
            raise Problem("forbidden", "only the host's own user and root may call")
        rules = self.server.rules
        calls = self.calls(rules)
        if self.command not in calls:
            raise Problem("method", ", ".join(calls))
        call, place, operators = calls[self.command]
        if operators and not self.server.operator:
            raise Problem("forbidden", "this is for operators, over the operator's socket")
        body = self.body(text)
        with rules.pool.lock:
            rules.advance()
            return call(*place, **arguments(call, body))

    def body(self, text):
        if len(text) > 64 * 1024:
            raise Problem("too-large", "a body has at most 64 KiB")
        if text and self.headers.get_content_type() != "application/json":
            raise Problem("media-type", "a body is JSON")
        try:
            body = json.loads(text, object_pairs_hook=object_of) if text else {}
        except ValueError as error:
            raise Problem("malformed", str(error))
        if not isinstance(body, dict):
            raise Problem("malformed", "a body is an object")
        return body

    def handle_call(self):
        try:
            status, media, body = 200, "application/json", self.answer()
        except Problem as problem:
            status, media, body = problem.status, "application/problem+json", problem.body
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status if text else 204)
        if "retry_after_ms" in (body or {}):
            self.send_header("Retry-After", str(-(-body["retry_after_ms"] // 1000)))
        if text:
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = handle_call

    def log_message(self, *_):
        pass


class Socket(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path, rules, operator):
        self.rules, self.operator = rules, operator
        if os.path.exists(path):
            os.remove(path)
        before = os.umask(0o177)  # 0600: for this user alone
        super().__init__(path, Control)
        os.umask(before)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # a caller that went away


class Service(http.server.BaseHTTPRequestHandler):
    """The service itself: each request is a job for the pool."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, text = self.server.pool.run(lambda: password(self.path))
        text = (text or "try again later") + "\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def password(path):
    time.sleep(0.04)  # something downstream
    return hashlib.pbkdf2_hmac("sha256", path.encode(), b"salt", 1000).hex()


def main():
    directory = sys.argv[1]
    os.makedirs(directory, mode=0o700, exist_ok=True)
    pool = Pool({"workers": knob(2, 1, 64, "threads"), "queue_limit": knob(64, 0, 1000, "jobs"),
                 "timeout_ms": knob(2000, 100, 60_000, "ms", "duration_ms")})
    pool.rules = rules = Rules("web", pool, os.path.join(directory, "frozen"))
    Socket(os.path.join(directory, "control.sock"), rules, operator=False)
    Socket(os.path.join(directory, "operator.sock"), rules, operator=True)
    http.server.ThreadingHTTPServer.request_queue_size = 256
    service = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Service)
    service.daemon_threads, service.pool, service.handle_error = True, pool, lambda *_: None
    threading.Thread(target=service.serve_forever, daemon=True).start()
    with pool.lock:
        pool.fit()
    print(f"http://127.0.0.1:{service.server_port}/", flush=True)
    while True:  # whatever happens to the sidecar, what it left open is undone here
        time.sleep(0.05)
        with pool.lock:
            rules.advance()


if __name__ == "__main__":
    main()
