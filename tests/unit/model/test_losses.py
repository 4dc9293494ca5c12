import math
from typing import get_args

import pytest
import torch

from model.config import DistillationName
from model.errors import InputError
from model.losses import DISTILLATION, info_nce


def vectors(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_info_nce_is_the_double_loop_of_its_equation(temperature):
    first, second = vectors(5, 4), vectors(5, 4, seed=1)
    total = 0.0
    for i, a in enumerate(first.tolist()):
        terms = [math.exp(cosine(a, b) / temperature) for b in second.tolist()]
        total -= math.log(terms[i] / sum(terms))
    assert info_nce(first, second, temperature).item() == pytest.approx(total / 5, rel=1e-5)


def test_info_nce_of_equal_vectors_is_the_logarithm_of_the_batch():
    same = torch.ones(8, 3)
    assert info_nce(same, same, 0.05).item() == pytest.approx(math.log(8), rel=1e-5)


def test_info_nce_looks_from_the_first_view_to_the_second_only():
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    second = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert info_nce(first, second, 0.1).item() != pytest.approx(info_nce(second, first, 0.1).item())


def test_cosine_distillation_is_the_mean_of_one_minus_the_cosine():
    student, teacher = vectors(5, 4), vectors(5, 4, seed=1)
    expected = sum(1 - cosine(a, b) for a, b in zip(student.tolist(), teacher.tolist(), strict=True)) / 5
    assert DISTILLATION["cosine"](student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_cosine_distillation_refuses_unequal_widths_and_names_the_other_loss():
    with pytest.raises(InputError, match=r"4.*6.*similarity"):
        DISTILLATION["cosine"](vectors(5, 4), vectors(5, 6))


def test_similarity_distillation_compares_every_pair_of_different_sentences():
    student, teacher = vectors(5, 4), vectors(5, 6, seed=1)
    s, t = student.tolist(), teacher.tolist()
    squares = [(cosine(s[i], s[j]) - cosine(t[i], t[j])) ** 2 for i in range(5) for j in range(5) if i != j]
    found = DISTILLATION["similarity"](student, teacher).item()
    assert found == pytest.approx(sum(squares) / len(squares), rel=1e-4)


def test_every_name_of_the_configuration_has_a_loss():
    assert set(DISTILLATION) == set(get_args(DistillationName))


@pytest.mark.parametrize("name", DISTILLATION)
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(name):
    same = vectors(5, 4)
    assert DISTILLATION[name](same, 3 * same).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [lambda a, b: info_nce(a, b, 0.001), *DISTILLATION.values()])
def test_gradients_are_finite_even_for_a_zero_vector_and_a_small_temperature(loss):
    student = vectors(5, 4)
    student[0] = 0
    student.requires_grad_()
    loss(student, vectors(5, 4, seed=1)).backward()
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().sum() > 0
