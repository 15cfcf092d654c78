"""Off-policy estimators in their textbook form with numpy: values, clustered variances, effective sample sizes, and the
weight of the predictions by a search for the smallest variance."""
import json, os, subprocess, sys, tempfile

try:
    import numpy as np
    from scipy.optimize import minimize_scalar
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

rng = np.random.default_rng(11)


def log_of(n, users, one_response_each=False):
    user = np.arange(n) if one_response_each else rng.integers(users, size=n)
    weight = np.where(rng.random(n) < 0.3, 0.0, rng.gamma(0.7, 2.0, n))
    if one_response_each:
        weight = np.ones(n)
    reward = (rng.random(n) < rng.beta(0.5, 2, n)).astype(float)
    score = np.clip(0.3 + 0.25 * reward + 0.2 * rng.normal(size=n), 0, 1)
    # Two arms: the one that served has this weight, the other the one that makes the policy's shares add up to 1.
    predicted, other, tau = rng.random(n), rng.random(n), float(np.quantile(weight, 0.8))
    served = rng.uniform(0.02, 1, n)  # the log's share of the arm that served
    if not one_response_each:
        weight = np.minimum(weight, 1 / served)
    shares = np.stack([weight * served, 1 - weight * served])  # the policy's
    weights = np.stack([weight, shares[1] / (1 - served + 1e-9)])
    q = np.stack([predicted, other])
    return dict(user=user, weight=weight, observed=rng.random(n) < 0.6, reward=reward, score=score, predicted=predicted,
                policy=(shares * q).sum(axis=0), rare=(shares * q * (weights > tau)).sum(axis=0), shares=shares, weights=weights, q=q,
                users=n if one_response_each else users, tau=tau)


def clustered(errors, user, used, total):
    """Variance of a sum of errors over users, with its small-sample factor."""
    sums = np.bincount(user, errors, total)
    g = len(np.unique(user[used]))
    return g / (g - 1) * np.sum(sums**2)


def estimates(log):
    o, w, r, f, q, v, user, total = (log[key] for key in ("observed", "weight", "reward", "score", "predicted", "policy", "user", "users"))
    n, out = o.sum(), {}

    def mean(name, terms, error_terms=None):
        error_terms = terms if error_terms is None else error_terms
        out[name] = [terms[o].mean(), clustered(np.where(o, error_terms - error_terms[o].mean(), 0) / n, user, o, total)]

    mean("dm", v, v + w * (f - q))
    mean("ips", w * r)
    mean("dr", v + w * (r - q))
    keep = w <= log["tau"]
    mean("switch_dr", np.where(keep, v + w * (r - q), v), np.where(keep, v + w * (r - q), v + w * (f - q)))
    # SWITCH as its paper has it: the sum over arms of the direct model where that arm's weight is large.
    rare = sum(log["shares"][a] * log["q"][a] * (log["weights"][a] > log["tau"]) for a in range(2))
    mean("switch", r * w * keep + rare, r * w * keep + rare + w * (f - q) * ~keep)

    def ratio(z, rows):
        value = np.average(z[rows], weights=w[rows])
        return value, np.where(rows, w * (z - value), 0) / w[rows].sum()

    value, errors = ratio(r, o)
    with_weight = o & (w > 0)
    out["snips"] = [value, clustered(errors, user, with_weight, total)]
    here, there = ratio(f, o), ratio(f, ~o)

    def powered(x):
        return [value + x * (there[0] - here[0]), clustered(errors + x * (there[1] - here[1]), user, with_weight, total)]

    out["ppi"] = powered(1.0)
    best = minimize_scalar(lambda x: powered(x)[1], bounds=(0, 1), method="bounded", options={"xatol": 1e-9}).x
    out["tuned"], out["lambda"], out["effective"] = powered(best), best, w[o].sum() ** 2 / (w[o] ** 2).sum()
    return out


logs = [log_of(60, 15), log_of(3000, 400), log_of(500, 500, one_response_each=True)]
with tempfile.TemporaryDirectory() as folder:
    columns = ("user", "weight", "observed", "reward", "score", "predicted", "policy", "rare")
    rows = [[[int(x) if key in ("user", "observed") else float(x) for key, x in zip(columns, row)] for row in zip(*(log[key] for key in columns))] for log in logs]
    with open(folder + "/cases.json", "w") as out:
        json.dump({"logs": [{"rows": r, "users": log["users"], "tau": log["tau"]} for r, log in zip(rows, logs)]}, out)
    subprocess.run([os.environ["RLUF_BUILD"] + "/statistics_driver", folder + "/cases.json", folder + "/out.json"], check=True)
    results = json.load(open(folder + "/out.json"))["logs"]

for log, got in zip(logs, results):
    want = estimates(log)
    for name in ("dm", "ips", "snips", "dr", "switch", "switch_dr", "ppi"):
        np.testing.assert_allclose(got[name], want[name], rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(got["effective"], want["effective"], rtol=1e-12)
    np.testing.assert_allclose(got["lambda"], want["lambda"], atol=1e-5)
    np.testing.assert_allclose(got["tuned"], want["tuned"], rtol=1e-4)

# PPI++ in closed form, for equal weights and independent responses.
log = logs[2]
o, f = log["observed"], log["score"]
n, N = o.sum(), (~o).sum()
lam = np.cov(log["reward"][o], f[o], ddof=0)[0, 1] / (f[o].var() + n / N * f[~o].var())
np.testing.assert_allclose(results[2]["lambda"], min(lam, 1), rtol=1e-10)
print(f"{len(logs)} logs, 8 estimators and lambda agree")
