"""Metrics against scikit-learn, losses and their gradients against torch and statsmodels: random data with ties, extremes, rare labels."""
import json, os, subprocess, sys, tempfile

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from scipy.optimize import approx_fprime, minimize_scalar
    from scipy.special import expit
    from scipy.stats import pearsonr, spearmanr
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import (average_precision_score, brier_score_loss, cohen_kappa_score, log_loss, mean_absolute_error, r2_score,
                                 roc_auc_score)
    from statsmodels.miscmodels.ordinal_model import OrderedModel
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

rng = np.random.default_rng(5)


def metric_case(n, rate, decimals=None, scale=2.0, shift=0.0):
    x = rng.normal(shift, scale, n)
    if decimals is not None:
        x = np.round(x, decimals)
    y = (rng.random(n) < expit(np.log(rate / (1 - rate)) + 0.7 * x)).astype(float)
    if y.sum() == 0:
        y[int(np.argmax(x))] = 1
    return {"logits": x.tolist(), "labels": y.tolist(), "clusters": rng.integers(0, n // 3 + 1, n).tolist()}


cases = [
    metric_case(500, 0.3),
    metric_case(2000, 0.1, decimals=0),  # nearly everything is tied
    metric_case(20000, 0.001),  # 0.1 % positives
    metric_case(20000, 0.001, decimals=1),
    metric_case(103, 0.5, decimals=1),  # bins of unequal size
    metric_case(300, 0.4, scale=60.0),  # probabilities of 0 and 1
    {"logits": [1.0, 1.0, 1.0, 1.0], "labels": [0, 1, 1, 0], "clusters": [1, 2, 3, 4]},  # constant scores
    {"logits": [0.0, 1.0, 2.0], "labels": [0, 0, 0], "clusters": [7, 7, -2]},  # no positive
    {"logits": [0.0, 1.0, 2.0], "labels": [1, 1, 1], "clusters": [7, 7, -2]},  # no negative
]
losses = []
for size, centering in ((1, 0.0), (7, 0.0), (33, 0.01), (5, 1.0)):
    draw = lambda spread: rng.normal(0, spread, size).astype(np.float32).astype(float).tolist()
    losses.append({"raw": draw(5), "labels": (rng.random(size) < 0.4).astype(float).tolist(), "chosen": draw(20),
                   "rejected": draw(20), "margins": np.abs(draw(1)).astype(np.float32).astype(float).tolist(),
                   "centering": centering})

calibrations = []
for n, rate, prior, decimals in ((400, 0.3, -2.0, 3), (2000, 0.1, -4.7, 1), (5000, 0.1, 0.0, 0), (60, 0.5, -1.0, 2)):
    case = metric_case(n, rate, decimals)
    asked = np.concatenate([case["logits"], rng.uniform(-9, 9, 50)])
    calibrations.append({"raw": case["logits"], "labels": case["labels"], "prior": prior, "asked": asked.tolist()})

single = lambda values: np.asarray(values, dtype=np.float32).astype(float).tolist()
ordinals = []
for size, num_levels, spread in ((40, 2, 1.0), (200, 5, 1.0), (60, 3, 8.0), (300, 10, 2.0)):
    levels = np.concatenate([np.arange(num_levels), rng.integers(0, num_levels, size - num_levels)])
    ordinals.append({"raw": single(rng.normal(0, spread, size)), "levels": levels.tolist(),
                     "start": single(np.sort(rng.normal(0, 2, num_levels - 1))), "offsets": single(rng.normal(0, 0.5, num_levels - 1))})
predictions = []
for size, num_levels in ((200, 5), (50, 3), (1000, 100)):
    truth = rng.integers(1, num_levels + 1, size)
    predicted = np.clip(truth + rng.integers(-1, 2, size), 1, num_levels)
    predictions.append({"truth": truth.astype(float).tolist(), "predicted": predicted.astype(float).tolist(),
                        "weights": rng.integers(0, 4, size).astype(float).tolist()})

with tempfile.TemporaryDirectory() as folder:
    with open(folder + "/cases.json", "w") as out:
        json.dump({"metrics": cases, "losses": losses, "calibrations": calibrations, "ordinals": ordinals,
                   "predictions": predictions}, out)
    program = os.path.join(os.environ["RLUF_BUILD"], "tests", "reward", "reward_driver")
    if not os.path.exists(program):
        program = os.path.join(os.environ["RLUF_BUILD"], "reward_driver")
    subprocess.run([program, folder + "/cases.json", folder + "/out.json"], check=True)
    results = json.load(open(folder + "/out.json"))


def same(name, got, want, tolerance=1e-9):
    assert got is not None and abs(got - want) <= tolerance * max(1.0, abs(want)), f"{name}: {got} instead of {want}"


def equal_mass_bins(x, y, num_bins=10):
    order = np.argsort(x, kind="stable")
    edges = [int(np.ceil(len(x) * k / num_bins)) for k in range(num_bins + 1)]
    parts = [order[a:b] for a, b in zip(edges, edges[1:]) if b > a]
    return [(expit(x[part]).mean(), y[part].mean(), len(part)) for part in parts]


def newton_line(x, y):
    """Maximum likelihood by scikit-learn's solver without a penalty."""
    fit = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10000, solver="newton-cholesky").fit(x[:, None], y)
    return fit.intercept_[0], fit.coef_[0, 0]


for number, (case, got) in enumerate(zip(cases, results["metrics"])):
    x, y = np.array(case["logits"]), np.array(case["labels"])
    assert got["clusters"] == len(set(case["clusters"]))
    # The log loss from logits, so that probabilities of 0 and 1 are no special case.
    same(f"{number} log_loss", got["log_loss"], float(np.mean(np.logaddexp(0, x) - y * x)))
    same(f"{number} brier", got["brier"], float(np.mean((expit(x) - y) ** 2)))
    bins = equal_mass_bins(x, y)
    assert len(bins) == len(got["reliability"]), (number, len(bins), len(got["reliability"]))
    for want, have in zip(bins, got["reliability"]):
        for a, b in zip(want, have):
            same(f"{number} bin", b, a)
    same(f"{number} ece", got["ece"], sum(abs(p - r) * c for p, r, c in bins) / len(x))
    if len(set(y)) < 2:
        assert got["auroc"] is None and got["intercept"] is None and got["pearson"] is None
        assert (got["auprc"] is None) == (y.sum() == 0)
        continue
    same(f"{number} auroc", got["auroc"], roc_auc_score(y, x))
    same(f"{number} auprc", got["auprc"], average_precision_score(y, x))
    if abs(x).max() < 30:
        same(f"{number} log_loss of sklearn", got["log_loss"], log_loss(y, expit(x)))
        same(f"{number} brier of sklearn", got["brier"], brier_score_loss(y, expit(x)))
    if len(set(x)) == 1:
        assert got["slope"] is None and got["pearson"] is None and got["auroc"] == 0.5
        continue
    same(f"{number} pearson", got["pearson"], pearsonr(x, y)[0])
    intercept, slope = newton_line(x, y)
    same(f"{number} intercept", got["intercept"], intercept, 1e-5)
    same(f"{number} slope", got["slope"], slope, 1e-5)

for number, (case, got) in enumerate(zip(losses, results["losses"])):
    raw, chosen, rejected = (torch.tensor(case[k], dtype=torch.float64, requires_grad=True)
                             for k in ("raw", "chosen", "rejected"))
    p = torch.sigmoid(raw)
    labels, margins = torch.tensor(case["labels"], dtype=torch.float64), torch.tensor(case["margins"], dtype=torch.float64)
    cross_entropy = -(labels * p.log() + (1 - labels) * (1 - p).log()).sum()
    pairs = (-F.logsigmoid(chosen - rejected - margins) + case["centering"] * (chosen + rejected) ** 2).sum()
    (cross_entropy + pairs).backward()
    same(f"cross entropy {number}", got["cross_entropy"], cross_entropy.item(), 1e-5)
    same(f"Bradley-Terry {number}", got["pairs"], pairs.item(), 1e-5)
    for name, tensor in (("raw", raw), ("chosen", chosen), ("rejected", rejected)):
        for have, want in zip(got[name + "_grad"], tensor.grad.tolist(), strict=True):
            same(f"gradient of {name} {number}", have, want, 1e-5)
for number, (case, got) in enumerate(zip(ordinals, results["ordinals"])):
    raw, levels, start, offsets = (np.array(case[k]) for k in ("raw", "levels", "start", "offsets"))
    gaps = np.log(np.diff(start)) + offsets[1:]  # statsmodels writes thresholds as a first one and logarithms of gaps
    parameters = np.concatenate([[1.0, start[0] + offsets[0]], gaps])
    loss = lambda x: -OrderedModel(levels, x[:, None], distr="logit").loglike(parameters)
    same(f"ordinal {number}", got["loss"], loss(raw), 1e-5)
    thresholds = np.cumsum(np.concatenate([parameters[1:2], np.exp(gaps)]))
    for have, want in zip(got["thresholds"], thresholds, strict=True):
        same(f"thresholds {number}", have, want, 1e-5)
    score = -OrderedModel(levels, raw[:, None], distr="logit").score(parameters)  # of slope, first threshold, log gaps
    for have, want in zip(got["offsets_grad"], score[1:], strict=True):
        same(f"gradient of thresholds {number}", have, want, 1e-3)
    same(f"gradient along the scores {number}", float(np.dot(got["raw_grad"], raw)), score[0], 1e-3)
    for have, want in zip(got["raw_grad"], approx_fprime(raw, loss, 1e-6), strict=True):
        same(f"gradient of scores {number}", have, want, 1e-3)
    if len(start) == 1:
        same("two levels are binary", got["loss"], log_loss(levels, expit(raw - thresholds[0]), normalize=False), 1e-5)
for number, (case, got) in enumerate(zip(predictions, results["predictions"])):
    repeated = np.array(case["weights"]).astype(int)
    truth, predicted = (np.repeat(np.array(case[k]), repeated) for k in ("truth", "predicted"))
    same(f"Spearman {number}", got["rank_correlation"], spearmanr(truth, predicted)[0])
    same(f"R squared {number}", got["r_squared"], r2_score(truth, predicted))
    same(f"kappa {number}", got["quadratic_kappa"], cohen_kappa_score(truth.astype(int), predicted.astype(int), weights="quadratic"))
    same(f"absolute error {number}", got["mean_absolute_error"], mean_absolute_error(truth, predicted))
for number, (case, got) in enumerate(zip(calibrations, results["calibrations"])):
    x, y, prior = np.array(case["raw"]), np.array(case["labels"]), case["prior"]
    # The likelihood of the window, whose rows stand at the raised rate.
    loss = lambda scale: np.mean(np.logaddexp(0, scale * (x + prior) - prior) - y * (scale * (x + prior) - prior))
    same(f"temperature {number}", got["scale"], minimize_scalar(loss, (0.1, 1), tol=1e-12).x, 1e-5)
    weights = np.where(y > 0.5, np.exp(prior), 1.0)
    least = 0.5 * min(1, np.exp(prior)) / weights.sum()
    fit = IsotonicRegression(out_of_bounds="clip").fit(x, y, weights)
    # Clipping the levels and drawing lines between them is scikit-learn's function of the clipped levels.
    fit.f_.y = np.clip(fit.f_.y, least, 1 - least)
    for have, want in zip(got["isotonic"], fit.f_(np.clip(case["asked"], fit.X_min_, fit.X_max_)), strict=True):
        same(f"isotonic {number}", have, want, 1e-9)
print(f"{len(calibrations)} calibrations, {len(cases)} metric cases and {len(losses) + len(ordinals)} loss cases agree")
