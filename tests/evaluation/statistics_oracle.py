"""Normal quantiles, Fisher intervals and Spearman correlations against scipy."""
import json, os, subprocess, sys, tempfile

try:
    import numpy as np
    from scipy.stats import norm, pearsonr, spearmanr
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

rng = np.random.default_rng(3)
quantiles = [1e-300, 1e-16, 1e-9, 1e-4, 0.02425, 0.025, 0.2, 0.4999999, 0.5, 0.6, 0.975, 0.999999, 1 - 1e-12]
quantiles += rng.random(50).tolist()
samples = []
for n in (4, 5, 10, 40, 500):
    x = rng.normal(size=n)
    samples.append((x, 0.6 * x + rng.normal(size=n)))
    samples.append((np.round(x), np.round(0.3 * x + rng.normal(size=n))))  # ties
samples = [(x, y) for x, y in samples if len(set(x)) > 1 and len(set(y)) > 1]
fisher = [(pearsonr(x, y)[0], len(x), level) for x, y in samples for level in (0.8, 0.95, 0.99)]
fisher.append((0.95, 10, 0.95))

with tempfile.TemporaryDirectory() as folder:
    with open(folder + "/cases.json", "w") as out:
        json.dump({"quantiles": quantiles, "fisher": fisher,
                   "spearman": [(x.tolist(), y.tolist()) for x, y in samples]}, out)
    program = os.path.join(os.environ["RLUF_BUILD"], "tests", "evaluation", "evaluation_driver")
    if not os.path.exists(program):
        program = os.path.join(os.environ["RLUF_BUILD"], "evaluation_driver")
    subprocess.run([program, folder + "/cases.json", folder + "/out.json"], check=True)
    results = json.load(open(folder + "/out.json"))

np.testing.assert_allclose(results["quantiles"], norm.ppf(quantiles), rtol=1e-12, atol=1e-12)
at = 0
for x, y in samples:
    for level in (0.8, 0.95, 0.99):
        want = pearsonr(x, y).confidence_interval(level)
        np.testing.assert_allclose(results["fisher"][at], [want.low, want.high], rtol=1e-9, atol=1e-12)
        at += 1
np.testing.assert_allclose(results["fisher"][at], [0.797, 0.988], atol=1e-3)  # the example of the documents
np.testing.assert_allclose(results["spearman"], [spearmanr(x, y)[0] for x, y in samples], rtol=1e-9, atol=1e-12)
print(f"{len(quantiles)} quantiles, {len(fisher)} Fisher intervals, {len(samples)} Spearman correlations agree")
