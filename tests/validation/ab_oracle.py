"""Chi-square tests and delta-method ratios against scipy and numpy, and against a bootstrap of users."""
import json, os, subprocess, sys, tempfile

try:
    import numpy as np
    from scipy.stats import chi2, chisquare, norm
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

rng = np.random.default_rng(5)
tails = [(x, k) for k in (1, 2, 3, 7, 40) for x in (1e-9, 0.1, 1.0, k - 0.5, k + 0.5, 3.0 * k, 60.0, 300.0)]
shares = [rng.multinomial(n, np.ones(k) / k).tolist() for n in (40, 3000, 10**6) for k in (2, 4)] + [[800, 700, 760, 740]]


def arm(users, rate):
    """Users of very different activity and taste."""
    responses = np.ceil(rng.pareto(1.6, users) * 3 + 1).clip(max=60)
    taste = rng.beta(0.5, 0.5 / rate - 0.5, users)
    return rng.binomial(responses.astype(int), taste).astype(float), responses


ratios = [arm(users, 1.3 * rate) + arm(users, rate) for users in (300, 4000) for rate in (0.02, 0.2)]

with tempfile.TemporaryDirectory() as folder:
    with open(folder + "/cases.json", "w") as out:
        json.dump({"tails": tails, "shares": shares,
                   "ratios": [[column.tolist() for column in case] for case in ratios]}, out)
    program = os.path.join(os.environ["RLUF_BUILD"], "validation_driver")
    subprocess.run([program, folder + "/cases.json", folder + "/out.json"], check=True)
    results = json.load(open(folder + "/out.json"))

np.testing.assert_allclose(results["tails"], [chi2.sf(x, k) for x, k in tails], rtol=1e-10)
np.testing.assert_allclose(results["shares"], [list(chisquare(counts)) for counts in shares], rtol=1e-10, atol=1e-14)


def ratio(n, d):
    """The textbook form with its covariance matrix."""
    r, (s, c) = n.sum() / d.sum(), (np.cov(n, d), len(n))
    return r, (s[0, 0] - 2 * r * s[0, 1] + r * r * s[1, 1]) / (c * d.mean() ** 2)


for result, (n1, d1, n0, d0) in zip(results["ratios"], ratios):
    (r1, v1), (r0, v0) = ratio(n1, d1), ratio(n0, d0)
    effect = v1 / (r1 * (1 - r1) / d1.sum())
    np.testing.assert_allclose(result["treatment"], [r1, v1, effect], rtol=1e-10)
    z = norm.ppf(0.975)
    half = z * np.sqrt(v1 + v0)
    np.testing.assert_allclose(result["difference"], [r1 - r0, r1 - r0 - half, r1 - r0 + half], rtol=1e-9, atol=1e-14)
    half = z * np.sqrt(v1 / r0**2 + r1**2 * v0 / r0**4)
    np.testing.assert_allclose(result["lift"], [r1 / r0 - 1, r1 / r0 - 1 - half, r1 / r0 - 1 + half], rtol=1e-9)
    np.testing.assert_allclose(result["p"], 2 * norm.sf(abs(r1 - r0) / np.sqrt(v1 + v0)), rtol=1e-9)
    # An estimate of the variance that knows nothing of the delta method: resampled users.
    picks = rng.integers(len(n1), size=(2000, len(n1)))
    resampled = np.std(n1[picks].sum(1) / d1[picks].sum(1), ddof=1)
    assert abs(resampled / np.sqrt(v1) - 1) < 0.1, (resampled, np.sqrt(v1))
print(f"{len(tails)} tails, {len(shares)} tests of shares, {len(ratios)} comparisons agree")
