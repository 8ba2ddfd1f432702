"""Programs for names that neither a page nor the catalogue runs; `tests/docs/test_example_programs.py` runs these."""

from __future__ import annotations

RATES = {
    "constant_schedule": "gx.constant_schedule(0.1)",
    "cosine_decay_schedule": "gx.cosine_decay_schedule(0.1, 100, alpha=0.1)",
    "cosine_onecycle_schedule": "gx.cosine_onecycle_schedule(100, 0.1)",
    "cosine_restarts_schedule": "gx.cosine_restarts_schedule(0.1, 20, t_mul=2, m_mul=0.8)",
    "exponential_decay": "gx.exponential_decay(0.1, 20, 0.5, staircase=True)",
    "inverse_sqrt_schedule": "gx.inverse_sqrt_schedule(0.0, 0.1, 20)",
    "inverse_time_decay": "gx.inverse_time_decay(0.1, 20, 0.5)",
    "join_schedules": "gx.join_schedules([gx.linear_schedule(0.0, 0.1, 20), gx.cosine_decay_schedule(0.1, 80)], [20])",
    "linear_onecycle_schedule": "gx.linear_onecycle_schedule(100, 0.1)",
    "linear_schedule": "gx.linear_schedule(0.1, 0.01, 60, transition_begin=20)",
    "multi_step_schedule": "gx.multi_step_schedule(0.1, (40, 80), 0.3)",
    "natural_exp_decay": "gx.natural_exp_decay(0.1, 20, 0.5)",
    "noam_schedule": "gx.noam_schedule(512, 20)",
    "over": "gx.over(100, gx.warmup_stable_decay_schedule(0.0, 0.1, 0.1, 0.6, 0.3))",
    "piecewise_constant_schedule": "gx.piecewise_constant_schedule(0.1, {40: 0.3, 80: 0.3})",
    "piecewise_interpolate_schedule": 'gx.piecewise_interpolate_schedule("cosine", 0.1, {40: 0.3, 80: 0.3})',
    "polynomial_schedule": "gx.polynomial_schedule(0.1, 0.01, 2.0, 100)",
    "sgdr_schedule": (
        "gx.sgdr_schedule([dict(init_value=0.0, peak_value=x, warmup_steps=5, decay_steps=40) for x in (0.1, 0.07)])"
    ),
    "step_decay": "gx.step_decay(0.1, 30, 0.5)",
    "warmup_constant_schedule": "gx.warmup_constant_schedule(0.0, 0.1, 20)",
    "warmup_cosine_decay_schedule": "gx.warmup_cosine_decay_schedule(0.0, 0.1, 20, 100)",
    "warmup_exponential_decay_schedule": "gx.warmup_exponential_decay_schedule(0.0, 0.1, 20, 20, 0.5)",
    "warmup_stable_decay_schedule": "gx.warmup_stable_decay_schedule(0.0, 0.1, 20, 50, 30)",
    "compat.torch.schedules.ChainedScheduler": (
        "torch_schedules.ChainedScheduler([torch_schedules.ConstantLR(0.1), torch_schedules.ExponentialLR(0.1, 0.97)])"
    ),
    "compat.torch.schedules.ConstantLR": "torch_schedules.ConstantLR(0.1, factor=0.5, total_iters=20)",
    "compat.torch.schedules.CosineAnnealingLR": "torch_schedules.CosineAnnealingLR(0.1, T_max=60)",
    "compat.torch.schedules.CosineAnnealingWarmRestarts": (
        "torch_schedules.CosineAnnealingWarmRestarts(0.1, T_0=20, T_mult=2)"
    ),
    "compat.torch.schedules.CyclicLR": "torch_schedules.CyclicLR(0.01, 0.1, step_size_up=20, cycle_momentum=False)",
    "compat.torch.schedules.ExponentialLR": "torch_schedules.ExponentialLR(0.1, gamma=0.97)",
    "compat.torch.schedules.LambdaLR": "torch_schedules.LambdaLR(0.1, lambda epoch: 0.97**epoch)",
    "compat.torch.schedules.LinearLR": "torch_schedules.LinearLR(0.1, start_factor=0.1, total_iters=40)",
    "compat.torch.schedules.MultiStepLR": "torch_schedules.MultiStepLR(0.1, milestones=[40, 80], gamma=0.3)",
    "compat.torch.schedules.MultiplicativeLR": "torch_schedules.MultiplicativeLR(0.1, lambda epoch: 0.97)",
    "compat.torch.schedules.PolynomialLR": "torch_schedules.PolynomialLR(0.1, total_iters=100, power=2.0)",
    "compat.torch.schedules.SWALR": "torch_schedules.SWALR(0.1, swa_lr=0.05, anneal_epochs=30)",
    "compat.torch.schedules.SequentialLR": (
        "torch_schedules.SequentialLR("
        "[torch_schedules.LinearLR(0.1, total_iters=20), torch_schedules.ExponentialLR(0.1, 0.97)], [20])"
    ),
    "compat.torch.schedules.StepLR": "torch_schedules.StepLR(0.1, step_size=30, gamma=0.5)",
    "compat.paddle.schedules.CosineAnnealingDecay": "paddle_schedules.CosineAnnealingDecay(0.1, T_max=60)",
    "compat.paddle.schedules.CosineAnnealingWarmRestarts": (
        "paddle_schedules.CosineAnnealingWarmRestarts(0.1, T_0=20, T_mult=2)"
    ),
    "compat.paddle.schedules.CyclicLR": "paddle_schedules.CyclicLR(0.01, 0.1, step_size_up=20)",
    "compat.paddle.schedules.ExponentialDecay": "paddle_schedules.ExponentialDecay(0.1, gamma=0.97)",
    "compat.paddle.schedules.InverseTimeDecay": "paddle_schedules.InverseTimeDecay(0.1, gamma=0.1)",
    "compat.paddle.schedules.LambdaDecay": "paddle_schedules.LambdaDecay(0.1, lambda epoch: 0.97**epoch)",
    "compat.paddle.schedules.LinearLR": "paddle_schedules.LinearLR(0.1, total_steps=40)",
    "compat.paddle.schedules.LinearWarmup": "paddle_schedules.LinearWarmup(0.1, 20, start_lr=0.0, end_lr=0.1)",
    "compat.paddle.schedules.MultiStepDecay": "paddle_schedules.MultiStepDecay(0.1, milestones=[40, 80], gamma=0.3)",
    "compat.paddle.schedules.MultiplicativeDecay": "paddle_schedules.MultiplicativeDecay(0.1, lambda epoch: 0.97)",
    "compat.paddle.schedules.NaturalExpDecay": "paddle_schedules.NaturalExpDecay(0.1, gamma=0.03)",
    "compat.paddle.schedules.NoamDecay": "paddle_schedules.NoamDecay(512, warmup_steps=20)",
    "compat.paddle.schedules.OneCycleLR": "paddle_schedules.OneCycleLR(0.1, total_steps=120)",
    "compat.paddle.schedules.PiecewiseDecay": "paddle_schedules.PiecewiseDecay([40, 80], [0.1, 0.03, 0.01])",
    "compat.paddle.schedules.PolynomialDecay": "paddle_schedules.PolynomialDecay(0.1, decay_steps=100, power=2.0)",
    "compat.paddle.schedules.StepDecay": "paddle_schedules.StepDecay(0.1, step_size=30, gamma=0.5)",
    "compat.mindspore.schedules.CosineDecayLR": "mindspore_schedules.CosineDecayLR(0.01, 0.1, 60)",
    "compat.mindspore.schedules.ExponentialDecayLR": "mindspore_schedules.ExponentialDecayLR(0.1, 0.5, 20)",
    "compat.mindspore.schedules.InverseDecayLR": "mindspore_schedules.InverseDecayLR(0.1, 0.5, 20)",
    "compat.mindspore.schedules.NaturalExpDecayLR": "mindspore_schedules.NaturalExpDecayLR(0.1, 0.5, 20)",
    "compat.mindspore.schedules.PolynomialDecayLR": "mindspore_schedules.PolynomialDecayLR(0.1, 0.01, 100, 2.0)",
    "compat.mindspore.schedules.WarmUpLR": "mindspore_schedules.WarmUpLR(0.1, 40)",
    "compat.mindspore.schedules.cosine_decay_lr": "mindspore_schedules.cosine_decay_lr(0.01, 0.1, 120, 4, 20)",
    "compat.mindspore.schedules.exponential_decay_lr": "mindspore_schedules.exponential_decay_lr(0.1, 0.9, 120, 4, 2)",
    "compat.mindspore.schedules.inverse_decay_lr": "mindspore_schedules.inverse_decay_lr(0.1, 0.5, 120, 4, 2)",
    "compat.mindspore.schedules.natural_exp_decay_lr": "mindspore_schedules.natural_exp_decay_lr(0.1, 0.1, 120, 4, 2)",
    "compat.mindspore.schedules.piecewise_constant_lr": (
        "mindspore_schedules.piecewise_constant_lr([40, 80, 120], [0.1, 0.03, 0.01])"
    ),
    "compat.mindspore.schedules.polynomial_decay_lr": (
        "mindspore_schedules.polynomial_decay_lr(0.1, 0.01, 120, 4, 25, 2.0)"
    ),
    "compat.mindspore.schedules.warmup_lr": "mindspore_schedules.warmup_lr(0.1, 120, 4, 10)",
}
"""How each schedule is made that is drawn over `STEPS` steps, without `gradxform.` in front of its name."""
STEPS = 120

TREE = """
    import jax
    import jax.numpy as jnp
    import gradxform as gx

    params = {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}
    grads = jax.tree.map(jnp.ones_like, params)
"""
SCALED = """
    from gradxform.compat import mindspore

    tx = mindspore.{}
    state = tx.init(params)
    scaled = gx.scale_loss(state, 0.5)    # what is differentiated: the loss times the scale
    updates, state = tx.update(jax.tree.map(lambda g: 1024 * g, grads), state, params)
"""
CLIPPED = """
    from gradxform.compat import paddle

    tx = paddle.momentum(0.1, grad_clip=paddle.{})
    updates, state = tx.update(grads, tx.init(params), params)
"""
RESTING = """
    import jax.numpy as jnp
    import gradxform as gx

    rows = gx.Rows(jnp.array([0, 3]), jnp.ones((2, 4)), (8, 4))    # the gradient of two of eight rows
"""
EXAMPLES = """
    import jax
    import jax.numpy as jnp
    import gradxform as gx

    def loss(params, x):
        return jnp.mean((x @ params["kernel"]) ** 2)

    params, x = {"kernel": jnp.ones((4, 3))}, jnp.ones((8, 4))
    grads = jax.vmap(jax.grad(loss), (None, 0))(params, x)    # one for each example
"""

WRITTEN = {
    "compat.mindspore.lars": TREE
    + "    from gradxform.compat import mindspore\n\n"
    + "    tx = mindspore.lars(mindspore.momentum(0.1, 0.9), coefficient=0.02)\n"
    + "    updates, state = tx.update(grads, tx.init(params), params)\n",
    "map_rows": RESTING + "    halved = gx.map_rows(lambda values: 0.5 * values, rows)\n",
    "abs_sq": """
    import jax.numpy as jnp
    import gradxform as gx

    gx.abs_sq(jnp.array([3 + 4j]))    # [25.]
    """,
    "safe_int32_increment": """
    import jax.numpy as jnp
    import gradxform as gx

    gx.safe_int32_increment(jnp.int32(2**31 - 1))    # stays there
    """,
    "hidden_matrices": TREE
    + "    tx = gx.masked(gx.orthogonalize(), gx.hidden_matrices)\n    state = tx.init(params)\n",
    "mindspore_decayed": TREE + "    tx = gx.adamw(1e-3, mask=gx.mindspore_decayed)\n    state = tx.init(params)\n",
    "matching": TREE
    + '    tx = gx.chain(gx.freeze(gx.matching("^bias$")), gx.adam(1e-3))\n    state = tx.init(params)\n',
    "multi_transform": TREE
    + '    tx = gx.multi_transform({"slow": gx.sgd(0.01), "fast": gx.adam(0.1)}, {"kernel": "fast", "bias": "slow"})\n'
    + "    updates, state = tx.update(grads, tx.init(params), params)\n",
    "mean_across": """
    import jax
    import jax.numpy as jnp
    import gradxform as gx

    tx = gx.chain(gx.mean_across("data"), gx.sgd(0.1))

    def step(params, grad):
        updates, _ = tx.update(grad, tx.init(params), params)
        return gx.apply_updates(params, updates)

    params = jnp.ones(3)
    grads = jnp.ones((jax.device_count(), 3))    # each device has its own
    params = jax.pmap(step, axis_name="data", in_axes=(None, 0), out_axes=None)(params, grads)
    """,
    "per_example_global_norm_clip": EXAMPLES
    + "    total, cut = gx.per_example_global_norm_clip(grads, l2_norm_clip=1.0)    # the sum, and how many were cut\n",
    "per_example_layer_norm_clip": EXAMPLES
    + "    total, cut = gx.per_example_layer_norm_clip(grads, global_l2_norm_clip=1.0)\n",
    "gauss_newton_bartlett": """
    import jax.numpy as jnp
    import gradxform as gx

    params, x = {"kernel": jnp.ones((4, 3))}, jnp.ones((8, 4))
    tx = gx.sophia(1e-3)
    state = tx.init(params)
    hessian = gx.gauss_newton_bartlett(lambda p: x @ p["kernel"], params, 0, count=state.count, every=10)
    updates, state = tx.update({"kernel": jnp.ones((4, 3))}, state, params, hessian=hessian)
    """,
    "schedule_free_eval_params": TREE
    + "    tx = gx.schedule_free_adamw(0.1)\n"
    + "    params, state = gx.make_step(tx)(params, tx.init(params), grads)\n"
    + "    averaged = gx.schedule_free_eval_params(state, params)\n",
    "spread": TREE
    + '    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])\n'
    + "    tx = gx.spread(gx.muon(0.02), mesh)\n"
    + '    params = {"a": jnp.ones((4, 3)), "b": jnp.ones((4, 3))}\n'
    + "    params, state = gx.make_step(tx)(params, tx.init(params), jax.tree.map(jnp.ones_like, params))\n",
    "compat.mindspore.dynamic_loss_scaler": TREE
    + SCALED.format(
        "dynamic_loss_scaler(mindspore.momentum(0.1, 0.9), scale_value=1024, scale_factor=2, scale_window=50)"
    ),
    "compat.mindspore.fixed_loss_scale_update_cell": TREE
    + SCALED.format("fixed_loss_scale_update_cell(mindspore.momentum(0.1, 0.9), loss_scale_value=1024)"),
    "compat.paddle.ClipGradByNorm": TREE + CLIPPED.format("ClipGradByNorm(1.0)"),
    "compat.paddle.ClipGradByValue": TREE + CLIPPED.format("ClipGradByValue(1.0)"),
    "compat.torch.get_swa_avg_fn": TREE
    + "    from gradxform.compat import torch\n\n"
    + "    model = torch.AveragedModel(avg_fn=torch.get_swa_avg_fn())\n"
    + "    averaged = model.update_parameters(model.init(params), params)\n",
    "compat.torch.lbfgs": """
    import jax
    import jax.numpy as jnp
    import gradxform as gx
    from gradxform.compat import torch

    def loss(params):
        return jnp.sum((params["w"] - 2) ** 2)

    params = {"w": jnp.ones(3)}
    tx = torch.lbfgs(0.5)
    updates, state = tx.update(jax.grad(loss)(params), tx.init(params), params, value_fn=loss)
    """,
}
