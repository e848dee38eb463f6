"""The example's host with one rule taken out, so that a test sees that the corpus notices: broken_host.py RULE EXAMPLE ARGUMENTS..."""
import importlib.util, sys

rule, example = sys.argv[1], sys.argv[2]
sys.argv[1:3] = []
spec = importlib.util.spec_from_file_location("python_host", example)
host = importlib.util.module_from_spec(spec)
spec.loader.exec_module(host)
Rules = host.Rules


def nothing(*_, **__):
    pass


def kept(name):
    return getattr(Rules, name)


change, check_value, check_set, end_trial, end = map(kept, ["change", "check_value", "check_set", "end_trial", "end"])


def forget_outcomes(rules, **request):
    rules.outcomes.pop(request["generation"], None)
    return change(rules, **request)


forget_outcomes.__annotations__ = change.__annotations__


def take_any_generation(rules, **request):
    highest, rules.generation = rules.generation, 0
    try:
        return change(rules, **request)
    finally:
        rules.generation = max(highest, rules.generation)


take_any_generation.__annotations__ = change.__annotations__


def forget_rate(rules, trial_ms, values):
    rules.recent = []
    check_set(rules, trial_ms, values)


def freeze_only(rules, reason: str = None):
    rules.frozen = True
    return rules.operator_receipt()


def take_any_field(function, fields):
    return {name: value for name, value in fields.items() if name in function.__annotations__}


def leave_the_lease(rules, instance: str, epoch: int):
    rules.check_epoch(epoch)
    rules.lease = None


def a_lease_for_everybody(rules, instance: str, holder: str, ttl_ms: int, epoch: int = None):
    rules.lease = None
    return take_lease(rules, instance, holder, ttl_ms)


take_lease = Rules.take_lease


class OpenSocket(host.Socket):
    def __init__(self, path, rules, operator):
        super().__init__(path, rules, operator=True)


BROKEN = {
    "instance": (Rules, "check_instance", nothing),
    "epoch": (Rules, "check_epoch", nothing),
    "generation": (Rules, "change", take_any_generation),
    "revision": (Rules, "check_stillness", nothing),
    "bounds": (Rules, "check_value", nothing),
    "step": (Rules, "check_value", lambda rules, name, value, step=True: check_value(rules, name, value, False)),
    "rate": (Rules, "check_set", forget_rate),
    "retry": (Rules, "change", forget_outcomes),
    "dead_man": (Rules, "advance", nothing),
    "release": (Rules, "release_lease", leave_the_lease),
    "lease": (Rules, "take_lease", a_lease_for_everybody),
    "freeze": (Rules, "freeze", freeze_only),
    "pin": (Rules, "end_trial", lambda rules, status, keep=(): end_trial(rules, status)),
    "operator": (host, "Socket", OpenSocket),
    "strict": (host, "arguments", take_any_field),
}
if rule != "none":
    setattr(*BROKEN[rule])
host.main()
