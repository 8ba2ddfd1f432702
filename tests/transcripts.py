"""Published algorithms in float64 NumPy, one array at a time, in their papers' letters.

Each takes the first iterate, the gradients with a leading axis of steps, and a rate (a number, or one a step), and
gives the iterates after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy import abs, maximum, minimum, sign, sqrt, tanh
from numpy.linalg import norm


def iterates(step: Callable[[Any, Any, Any, float, int], tuple[Any, Any]], x: Any, gs: Any, rate: Any) -> Any:
    """`x, memory <- step(x, memory, g, rate, t)` for t = 1, 2, ...; memory starts as None."""
    x, memory, found = np.asarray(x, np.float64), None, []
    for t, g, now in timed(gs, rate):
        x, memory = step(x, memory, g, now, t)
        found.append(x)
    return np.stack(found)


def timed(gs: Any, rate: Any) -> Iterator[tuple[int, Any, float]]:
    gs = np.asarray(gs, np.float64)
    rates = np.broadcast_to(np.asarray(rate, np.float64), (len(gs),))
    return ((t, g, now) for t, (g, now) in enumerate(zip(gs, rates, strict=True), start=1))


def identity(x):
    return x


def kept_in(dtype):
    """What a statistic becomes that passes through a narrower dtype between two steps."""
    return lambda x: np.asarray(x).astype(dtype).astype(np.float64)


def sgd(x, gs, eta, lam=0.0):
    """Robbins, Monro 1951, with the gradient of lam/2 |x|^2 added."""
    return iterates(lambda x, _, g, eta, t: (x - eta * (g + lam * x), None), x, gs, eta)


def heavy_ball(x, gs, eta, mu=0.9, nesterov=False, tau=0.0, first="zero", l2=0.0, lam=0.0, keep=identity):
    """Sutskever et al. 2013, equations 1 and 3, in the form of torch: the rate outside the sum.

    l2 |x|^2 / 2 is in the gradient, lam beside the direction.
    """

    def step(x, b, g, eta, t):
        g = g + l2 * x
        fresh = g if b is None and first == "gradient" else (1 - tau) * g
        b = mu * (0.0 if b is None else b) + fresh
        return x - eta * ((g + mu * b if nesterov else b) + lam * x), keep(b)

    return iterates(step, x, gs, eta)


def sutskever(theta, gs_at, eta, mu):
    """Sutskever et al. 2013, equations 3 and 4, as printed: `gs_at(t, lookahead point)`, 50 steps."""
    theta, v, found = np.asarray(theta, np.float64), 0.0, []
    for t in range(50):
        v = mu * v - eta * gs_at(t, theta + mu * v)
        theta = theta + v
        found.append(theta + mu * v)
    return np.stack(found)


def signum(x, gs, delta, beta=None, keep=identity):
    """Bernstein et al. 2018, algorithms 1 (beta None) and 3."""

    def step(x, m, g, delta, t):
        m = g if beta is None else beta * (0 if m is None else m) + (1 - beta) * g
        return x - delta * sign(m), keep(m)

    return iterates(step, x, gs, delta)


def adam(theta, gs, alpha, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0, lam=0.0, nesterov=False, keep=identity):
    """Kingma, Ba 2014, algorithm 1; lam: Loshchilov, Hutter 2017, algorithm 2; nesterov: Dozat 2016, constant mu."""

    def step(theta, s, g, alpha, t):
        m, v = (0.0, 0.0) if s is None else s
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        if nesterov:
            m_hat = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
        return theta - alpha * (m_hat / (sqrt(v_hat + eps_root) + eps) + lam * theta), (keep(m), v)

    return iterates(step, theta, gs, alpha)


def amsgrad(x, gs, alpha, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0, correct_m=True, correct_v=True):
    """Reddi et al. 2018, algorithm 2, without projection; the corrections are Adam's, before the maximum."""

    def step(x, s, g, alpha, t):
        m, v, v_max = (0.0, 0.0, 0.0) if s is None else s
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        v_max = maximum(v_max, v / (1 - beta2**t) if correct_v else v)
        m_hat = m / (1 - beta1**t) if correct_m else m
        return x - alpha * m_hat / (sqrt(v_max + eps_root) + eps), (m, v, v_max)

    return iterates(step, x, gs, alpha)


def adamax(theta, gs, alpha, beta1=0.9, beta2=0.999, eps=1e-8, lam=0.0):
    """Kingma, Ba 2014, algorithm 2, with eps beside |g| where the paper divides by zero."""

    def step(theta, s, g, alpha, t):
        m, u = (0.0, 0.0) if s is None else s
        m = beta1 * m + (1 - beta1) * g
        u = maximum(beta2 * u, abs(g) + eps)
        return theta - alpha * (m / (1 - beta1**t) / u + lam * theta), (m, u)

    return iterates(step, theta, gs, alpha)


def adagrad(x, gs, eta, a0=0.1, eps=1e-7):
    """Duchi et al. 2011, equation 1, diagonal."""

    def step(x, a, g, eta, t):
        a = (a0 if a is None else a) + g**2
        return x - eta * g / sqrt(a + eps), a

    return iterates(step, x, gs, eta)


def adadelta(x, gs, eta=1.0, rho=0.9, eps=1e-6, lam=0.0):
    """Zeiler 2012, algorithm 1, with a rate."""

    def step(x, s, g, eta, t):
        e_g, e_x = (0.0, 0.0) if s is None else s
        g = g + lam * x
        e_g = rho * e_g + (1 - rho) * g**2
        delta = -sqrt(e_x + eps) / sqrt(e_g + eps) * g
        e_x = rho * e_x + (1 - rho) * delta**2
        return x + eta * delta, (e_g, e_x)

    return iterates(step, x, gs, eta)


def rmsprop(
    w, gs, eta, decay=0.9, eps=1e-8, n0=0.0, eps_in_sqrt=True, centered=False, mu=0.0, nesterov=False, correct=False
):
    """Tieleman, Hinton 2012, slide 29; centered with momentum: Graves 2013, equations 38 to 41."""

    def step(w, s, g, eta, t):
        n, m, delta = (n0, 0.0, 0.0) if s is None else s
        n = decay * n + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        c = 1 - decay**t if correct else 1.0
        square = n / c - (m / c) ** 2 if centered else n / c
        u = -eta * g / (sqrt(square + eps) if eps_in_sqrt else sqrt(square) + eps)
        delta = mu * delta + u
        return w + (u + mu * delta if nesterov else delta), (n, m, delta)

    return iterates(step, w, gs, eta)


def radam(theta, gs, alpha, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0, threshold=5.0, nesterov=False):
    """Liu et al. 2019, algorithm 2, with eps where Adam has it; nesterov: as in `adam`."""

    def step(theta, s, g, alpha, t):
        m, v = (0.0, 0.0) if s is None else s
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        if nesterov:
            m_hat = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
        inf, b = 2 / (1 - np.longdouble(beta2)) - 1, np.longdouble(beta2)
        rho = inf - 2 * t * b**t / (1 - b**t)
        if rho >= threshold:
            r = sqrt((rho - 4) * (rho - 2) * inf / ((inf - 4) * (inf - 2) * rho))
            m_hat = float(r) * m_hat / (sqrt(v_hat + eps_root) + eps)
        return theta - alpha * m_hat, (m, v)

    return iterates(step, theta, gs, alpha)


def rprop(w, gs, delta0, eta_minus=0.5, eta_plus=1.2, least=1e-6, most=50.0):
    """Igel, Huesken 2003, iRprop-."""

    def step(w, s, g, delta0, t):
        delta, before = (delta0, 0.0) if s is None else s
        delta = np.where(before * g > 0, minimum(delta * eta_plus, most), delta)
        delta = np.where(before * g < 0, maximum(delta * eta_minus, least), delta)
        g = np.where(before * g < 0, 0.0, g)
        return w - sign(g) * delta, (delta, g)

    return iterates(step, w, gs, delta0)


def lion(theta, gs, eta, beta1=0.9, beta2=0.99, lam=0.0, turn=sign, keep=identity):
    """Chen et al. 2023, algorithm 2."""

    def step(theta, m, g, eta, t):
        m = 0.0 if m is None else m
        c = beta1 * m + (1 - beta1) * g
        return theta - eta * (turn(c) + lam * theta), keep(beta2 * m + (1 - beta2) * g)

    return iterates(step, theta, gs, eta)


def smooth_sign(beta):
    return lambda c: tanh(beta * c)


def refined_sign(c):
    return minimum(maximum(c, -1.0), 1.0)


def lamb(x, gs, eta, beta1=0.9, beta2=0.999, eps=1e-6, eps_root=0.0, lam=0.0):
    """You et al. 2019, algorithm 2, with phi the identity."""

    def step(x, s, g, eta, t):
        m, v = (0.0, 0.0) if s is None else s
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        r = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t) + eps_root) + eps) + lam * x
        return x - eta * norm(x) / norm(r) * r, (m, v)

    return iterates(step, x, gs, eta)


def lars(w, gs, gamma, eta=0.001, beta=0.0, m=0.9, eps=0.0, trusted=True, nesterov=False):
    """You et al. 2017, algorithm 1, with `|g + beta w|` for the printed `|g| + beta |w|` (equal where beta is 0)."""

    def step(w, v, g, gamma, t):
        g = g + beta * w
        local = eta * norm(w) / (norm(g) + eps) if trusted else 1.0
        u = gamma * local * g
        v = m * (0.0 if v is None else v) + u
        return w - (u + m * v if nesterov else v), v

    return iterates(step, w, gs, gamma)


def soft(v, threshold):
    """The proximal operator of `threshold * |v|`: Parikh, Boyd 2014, section 6.5.2."""
    return sign(v) * maximum(abs(v) - threshold, 0.0)


def fobos(w, gs, eta, l1=0.0, l2=0.0):
    """Duchi, Singer 2009, equations 2 and 3, with the penalty `l1 |w| + l2/2 |w|^2`."""
    return iterates(lambda w, _, g, eta, t: (soft(w - eta * g, eta * l1) / (1 + eta * l2), None), w, gs, eta)


def proximal_adagrad(w, gs, eta=0.001, a0=0.1, l1=0.0, l2=0.0, adaptive=False):
    """FOBOS with Adagrad's direction; threshold and divisor take eta, or the adaptive rate `eta / sqrt(a)`."""

    def step(w, a, g, eta, t):
        a = (a0 if a is None else a) + g**2
        rate = eta / sqrt(a)
        used = rate if adaptive else eta
        return soft(w - rate * g, used * l1) / (1 + used * l2), a

    return iterates(step, w, gs, eta)


def caution(u, g):
    """Liang et al. 2024, algorithm 1, with the bound of the mean in the authors' code."""
    m = np.where(u * g > 0, 1.0, 0.0)
    return u * m / maximum(m.mean(), 1e-3)


def cautious_adamw(theta, gs, alpha, beta1, beta2, eps=1e-8, lam=0.0):
    def step(theta, s, g, alpha, t):
        m, v = (0.0, 0.0) if s is None else s
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
        return theta - alpha * (caution(u, g) + lam * theta), (m, v)

    return iterates(step, theta, gs, alpha)


def cautious_heavy_ball(x, gs, eta, mu):
    def step(x, b, g, eta, t):
        b = mu * (0.0 if b is None else b) + g
        return x - eta * caution(b, g), b

    return iterates(step, x, gs, eta)


def adabelief(theta, gs, alpha, beta1=0.9, beta2=0.999, eps=1e-16, eps_root=1e-16):
    """Zhuang et al. 2020, algorithm 2; eps_root is the paper's eps, eps stands beside the root."""

    def step(theta, state, g, alpha, t):
        m, s = (0.0, 0.0) if state is None else state
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * (g - m) ** 2 + eps_root
        return theta - alpha * m / (1 - beta1**t) / (sqrt(s / (1 - beta2**t)) + eps), (m, s)

    return iterates(step, theta, gs, alpha)


def yogi(x, gs, eta, beta1=0.9, beta2=0.999, eps=1e-3, v0=1e-6, eps_root=0.0):
    """Zaheer et al. 2018, algorithm 2, with Adam's corrections."""

    def step(x, s, g, eta, t):
        m, v = (0.0, v0) if s is None else s
        m = beta1 * m + (1 - beta1) * g
        v = v - (1 - beta2) * sign(v - g**2) * g**2
        return x - eta * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t) + eps_root) + eps), (m, v)

    return iterates(step, x, gs, eta)


def adan(theta, gs, eta, beta1=0.02, beta2=0.08, beta3=0.01, eps=1e-8, eps_root=0.0, lam=0.0):
    """Xie et al. 2022, algorithm 1 with its betas, the corrections of the authors' code, and decay as in AdamW."""

    def step(theta, s, g, eta, t):
        m, v, n, before = (0.0, 0.0, 0.0, g) if s is None else s
        m = (1 - beta1) * m + beta1 * g
        v = (1 - beta2) * v + beta2 * (g - before)
        n = (1 - beta3) * n + beta3 * (g + (1 - beta2) * (g - before)) ** 2
        c1, c2, c3 = (1 - (1 - b) ** t for b in (beta1, beta2, beta3))
        u = (m / c1 + (1 - beta2) * v / c2) / (sqrt(n / c3 + eps_root) + eps)
        return theta - eta * (u + lam * theta), (m, v, n, g)

    return iterates(step, theta, gs, eta)


def novograd(w, gs, eta, beta1=0.9, beta2=0.25, eps=1e-6, lam=0.0, keep=identity):
    """Ginsburg et al. 2019, algorithm 1."""

    def step(w, s, g, eta, t):
        square = np.sum(g**2)
        m, v = (0.0, square) if s is None else s
        v = square if s is None else beta2 * v + (1 - beta2) * square
        m = beta1 * m + g / (sqrt(v) + eps) + lam * w
        return w - eta * keep(m), (keep(m), v)

    return iterates(step, w, gs, eta)


def optimistic(x, gs, eta, alpha=1.0, beta=1.0):
    """Mokhtari et al. 2019, generalized optimistic gradient, one player; the gradient before the first is the first."""

    def step(x, before, g, eta, t):
        before = g if before is None else before
        return x - (alpha + beta) * eta * g + beta * eta * before, g

    return iterates(step, x, gs, eta)
