"""The methods of each metric: formula, estimator and source, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from microscope_tui.terms import Metric

RAZZHIGAEV_2023 = "Razzhigaev et al. 2023, The Shape of Learning, arXiv 2311.05928"
RAZZHIGAEV_2024 = "Razzhigaev et al. 2024, Your Transformer is Secretly Linear, arXiv 2405.12250, section 3"
FACCO_2017 = "Facco, d'Errico, Rodriguez & Laio 2017, Scientific Reports 7:12140"
DENTI_2022 = "Denti, Doimo, Laio & Mira 2022, Scientific Reports 12:20005"
THEIR_CODE = "the code of LLM-Microscope 0.0.7, its faults kept"
EVERY_ROW = "from running moments of every row"

REFERENCE = "llm-microscope"
"""The method of each metric that is LLM-Microscope's own function."""


@dataclass(frozen=True)
class Method:
    """A way to compute a metric: its name on the screen and in JSON output, its formula in a line and where there is no
    room for one, how it is estimated, and whose it is."""

    name: str
    formula: str
    short: str
    estimator: str
    source: str


_METHODS: Mapping[Metric, tuple[Method, ...]] = {
    Metric.LINEARITY: (
        Method(
            "in-sample",
            "R² of the best linear map: 1 − min_A ‖X̃A − Ỹ‖²_F, fitted and scored on all rows",
            "1 − min‖XA − Y‖²",
            f"least squares {EVERY_ROW}, columns centred",
            RAZZHIGAEV_2024,
        ),
        Method(
            "held-out",
            "R² of the best linear map, fitted on some examples and scored on the others (ridge and shrinkage chosen "
            "there)",
            "R² on other examples",
            "ridge regression fitted on some folds of examples, scored on the others; penalty and shrinkage chosen on "
            "further folds; may be negative",
            f"{RAZZHIGAEV_2024}, with cross-validation by example",
        ),
        Method(
            "adjusted",
            "in-sample R² less what n and rank r alone explain: 1 − (1 − R²)(n − 1)/(n − r − 1)",
            "R² less what chance explains",
            "in-sample, corrected for the rank of the input",
            f"{RAZZHIGAEV_2024}; Ezekiel 1930",
        ),
        Method(
            "update",
            "R² of the best linear map from h_l to the update h_{l+1} − h_l",
            "1 − min‖XA − Δ‖²",
            "least squares from the block's input to what the block adds",
            RAZZHIGAEV_2024,
        ),
        Method(
            REFERENCE,
            "in-sample R² as LLM-Microscope reports it, also where n ≤ d + 1 makes it 1",
            "1 − min‖XA − Y‖²",
            "least squares on all rows",
            THEIR_CODE,
        ),
    ),
    Metric.DIMENSION: (
        Method(
            "mle",
            "TwoNN, maximum likelihood: (n − 1)/Σ log(r₂/r₁) on de-duplicated rows",
            "TwoNN, (n−1)/Σ log(r₂/r₁)",
            "maximum likelihood on a bounded sample of rows, repeated rows removed",
            f"{FACCO_2017}; {DENTI_2022}",
        ),
        Method(
            "facco",
            "TwoNN, slope of −log(1 − i/n) on log(r₂/r₁), lowest 90 % of the ratios, on de-duplicated rows",
            "TwoNN, a slope",
            "slope of a line through 0, without the upper tenth of the ratios",
            FACCO_2017,
        ),
        Method(
            REFERENCE,
            "TwoNN as LLM-Microscope: that slope on the lowest 20 %, ranks counted with duplicates",
            "TwoNN, a slope",
            "slope on the lowest fifth of the ratios",
            THEIR_CODE,
        ),
        Method(
            "dadapy",
            "TwoNN as DADApy: as facco, undefined where a row has a duplicate",
            "TwoNN, a slope",
            "slope on the lowest 90 % of the ratios",
            "Glielmo et al. 2022, Patterns 3:100589",
        ),
        Method(
            "scikit-dimension",
            "TwoNN as scikit-dimension: as facco on all rows, ratios with r₁ = 0 left out",
            "TwoNN, a slope",
            "slope on the lowest 90 % of the ratios",
            "Bac et al. 2021, Entropy 23:1368; version 0.5.0",
        ),
        Method(
            "gride",
            "Gride: maximum likelihood of r₂ₖ/rₖ at k = 8, on de-duplicated rows",
            "r₂ₖ/rₖ, k = 8",
            "maximum likelihood at a larger scale: less swayed by noise",
            DENTI_2022,
        ),
    ),
    Metric.ANISOTROPY: (
        Method(
            "top-eigenvalue",
            "share of the largest eigenvalue of the centred covariance: λ₁/Σλ",
            "λ₁/Σλ",
            EVERY_ROW,
            RAZZHIGAEV_2023,
        ),
        Method(
            "mean-cosine",
            "mean cosine of two different rows, not centred: (‖Σ x̂‖² − n)/(n(n − 1))",
            "mean cosine",
            "from the sum of all unit rows: no pairs are drawn",
            "Ethayarajh 2019, arXiv 1909.00512",
        ),
        Method(
            "participation-ratio",
            "directions that take part, 1 to d: (Σλ)²/Σλ² of the centred covariance",
            "(Σλ)²/Σλ²",
            EVERY_ROW,
            "Gao et al. 2017, bioRxiv 214262",
        ),
        Method(
            "effective-rank",
            "directions that take part, 1 to d: exp(−Σ p log p), p = λ/Σλ of the centred covariance",
            "exp(−Σ p log p)",
            EVERY_ROW,
            "Roy & Vetterli 2007, EUSIPCO",
        ),
        Method(
            "isoscore",
            "evenness of directions, 0 to 1: ((Σλ)²/Σλ² − 1)/(d − 1)",
            "((Σλ)²/Σλ² − 1)/(d − 1)",
            EVERY_ROW,
            "Rudman et al. 2022, arXiv 2108.07344",
        ),
        Method(
            REFERENCE,
            "share of the largest squared singular value of the centred rows: σ₁²/Σσ²",
            "σ₁²/Σσ²",
            "singular values of the rows of the sample",
            THEIR_CODE,
        ),
    ),
}

METHODS: Mapping[Metric, tuple[str, ...]] = {m: tuple(each.name for each in table) for m, table in _METHODS.items()}
"""The methods of each metric, the default first."""


def method_of(metric: Metric, name: str) -> Method:
    """What is known of a method; of one that there is no more, or not yet, its name."""
    return next((each for each in _METHODS[metric] if each.name == name), Method(name, name, name, "", ""))
