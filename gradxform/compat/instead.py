"""What does the job here of a name of optax that is not here."""

from __future__ import annotations

import re

_OWN = "optax's own works on our trees as it is"
_NOT_YET = "optax's own runs as a member of gx.chain"
_STATE = "every chain has one gx.State; gx.view and gx.tree_get read it by name"

INSTEAD = {
    "MaskedNode|MaskedState": "leaves that take no part are None, in updates and in states",
    "MultiSteps|MultiStepsState|apply_every|ApplyEvery": "gx.accumulate(tx, every)",
    "ShouldSkipUpdateFunction|skip_large_updates|skip_not_finite": "gx.guard(tx) skips what is not finite or spikes",
    "LookaheadParams": "gx.lookahead keeps the slow weights in its state; gx.eval_params gives them",
    "WrappedSchedule|inject_(stateful_)?hyperparams|Inject(Stateful)?HyperparamsState": (
        "gx.tunable(x) makes a hyperparameter one that gx.with_hyperparams sets; each takes a schedule"
    ),
    r"\w+State|\w+Info": _STATE,
    "bias_correction|update_(infinity_)?moment(_per_elem_norm)?": "gx.debias, and moments inside a gx.Halves",
    "selective_transform|conditionally_(mask|transform)": "gx.groups or gx.masked by leaf, gx.guard by step",
    "stateless(_with_tree_map)?": "gx.lift of a gx.Rule, or gx.GradientTransformation(init, update)",
    "init_empty_state": "lambda params: gx.EmptyState()",
    "with_extra_args_support": "nothing is needed: every transformation takes extra arguments",
    "tree_map_params": "gx.view gives a statistic as a tree like the parameters",
    "flatten": "gx.packed(tx)",
    "measure_with_ema|monitor|snapshot": "gx.measure(tx), read by gx.metrics",
    "microbatch|microbatching": "gx.accumulate_gradients",
    "scale_by_distance_over_gradients": _NOT_YET,
    "tree|tree_utils": f"gx.tree_get and gx.with_hyperparams for states, gx.global_norm; for the rest {_OWN}",
}
"""Names, as regular expressions, and the sentence about each; the first that fits counts."""

THEIRS = re.compile(
    "assignment|experimental|losses|perturbations|projections|second_order|matrix_inverse_pth_root|power_iteration|nnls|"
    r"multi_normal|ntxent|log_cosh|scale_gradient|smooth_labels|squared_error|\w+_loss|\w*cosine_\w+|\w*kl_divergence|"
    r"ctc_\w+|safe_(norm|root_mean_squares|softmax\w+)|s(igmoid|oftmax)_\w+"
)
"""What is no transformation."""


def instead(name: str) -> str | None:
    """The sentence about a name of optax; None where it is none that is known."""
    found = next((words for names, words in INSTEAD.items() if re.fullmatch(names, name)), None)
    return _OWN if found is None and THEIRS.fullmatch(name) else found
