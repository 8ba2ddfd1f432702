"""What optax has under `contrib`, by the same names: `gradxform.contrib.muon` is `gradxform.muon`."""

from gradxform.core.names import namespace

namespace(__name__, (
    "acprop", "ademamix", "adopt", "cocob", "dadapt_adamw", "differentially_private_aggregate", "dog", "dowg", "dpsgd",
    "galore", "madgrad", "mechanize", "momo", "momo_adam", "muon", "prodigy", "reduce_on_plateau", "sam",
    "scale_by_acprop", "scale_by_ademamix", "scale_by_adopt", "scale_by_cocob", "scale_by_galore", "scale_by_madgrad",
    "scale_by_muon", "scale_by_simplified_ademamix", "schedule_free", "schedule_free_adamw",
    "schedule_free_eval_params", "schedule_free_sgd", "simplified_ademamix", "sophia",
))  # fmt: skip
