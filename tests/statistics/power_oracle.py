"""Users that an A/B test needs, against statsmodels, and by playing such tests: users of several responses and unequal
tastes, judged by the delta method."""
import json, os, subprocess, sys, tempfile

try:
    import numpy as np
    from scipy.stats import norm
    from statsmodels.stats.power import normal_sample_size_one_tail
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

rng = np.random.default_rng(17)
tests = [dict(rate=rate, responses_per_user=m, design_effect=d, alpha=alpha, power=power, correlation=rho,
              control_share=share, arms=arms, lift=lift, total=total)
         for rate, lift, total in ((0.001, 0.28, 4e5), (0.006, 0.0973, 1e5), (0.2, -0.1, 3e3))
         for m, d in ((1, 1), (5.4, 1.7)) for alpha, power in ((0.05, 0.8), (0.01, 0.95))
         for rho in (0, 0.6) for share, arms in ((0, 2), (0.7, 2), (0.4, 4))]


def run(cases):
    with tempfile.TemporaryDirectory() as folder:
        json.dump({"tests": cases}, open(folder + "/cases.json", "w"))
        subprocess.run([os.environ["RLUF_BUILD"] + "/statistics_driver", folder + "/cases.json", folder + "/out.json"], check=True)
        return json.load(open(folder + "/out.json"))["tests"]


def deviation(one):
    """Standard deviation of sqrt(total users) * (treatment - control)."""
    p, q = one["rate"], one["rate"] * (1 + one["lift"])
    c = one["control_share"] or 1 / one["arms"]
    t = (1 - c) / (one["arms"] - 1)
    unit = one["design_effect"] / one["responses_per_user"] * (1 - one["correlation"] ** 2)
    return np.sqrt(unit * (q * (1 - q) / t + p * (1 - p) / c)), t, c


for one, got in zip(tests, run(tests)):
    sigma, t, c = deviation(one)
    difference, alpha = abs(one["rate"] * one["lift"]), one["alpha"] / (one["arms"] - 1)
    total = normal_sample_size_one_tail(difference, one["power"], alpha / 2, std_null=sigma)
    np.testing.assert_allclose(got["users"][:2], np.ceil([total * t, total * c]), atol=1)
    want = norm.sf(norm.isf(alpha / 2) - difference * np.sqrt(one["total"]) / sigma)
    np.testing.assert_allclose(got["power"], want, rtol=1e-10)
    rise = dict(one, lift=got["detectable"])
    sigma = deviation(rise)[0]
    np.testing.assert_allclose(norm.sf(norm.isf(alpha / 2) - rise["rate"] * rise["lift"] * np.sqrt(one["total"]) / sigma), one["power"], rtol=1e-6)


def users(number, rate):
    """Responses and hearts of users who differ in taste: beta-binomial, so that the design effect is not 1."""
    responses = rng.integers(1, 10, number)
    return rng.binomial(responses, rng.beta(8 * rate, 8 * (1 - rate), number)), responses


def ratio(n, d):
    r = n.sum() / d.sum()
    return r, np.var(n - r * d, ddof=1) / (len(n) * d.mean() ** 2)


# The design effect of that population from very many of its users, as a log would give it.
n, d = users(400_000, 0.2)
r, v = ratio(n, d)
design = dict(rate=0.2, responses_per_user=float(d.mean()), design_effect=float(v / (r * (1 - r) / d.sum())), alpha=0.05,
              power=0.8, correlation=0, control_share=0, arms=2, lift=0.15, total=1000)
treatment, control, _ = run([design])[0]["users"]
seen = 0
for _ in range(2000):
    (r1, v1), (r0, v0) = ratio(*users(int(treatment), 0.23)), ratio(*users(int(control), 0.2))
    seen += abs(r1 - r0) / np.sqrt(v1 + v0) > norm.ppf(0.975)
assert design["design_effect"] > 1.2, design
assert abs(seen / 2000 - 0.8) < 0.035, seen / 2000  # four standard deviations
print(f"{len(tests)} designs agree; with {treatment:.0f} users an arm {seen / 20:.1f} % of 2000 tests see the effect")
