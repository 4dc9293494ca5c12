from pathlib import Path

import pytest
import torch

from model.device import choose_device
from model.errors import InputError
from model.precision import resolve_precision

CPU = torch.device("cpu")


def test_auto_on_a_cpu_is_bf16_only_where_the_processor_lists_it():
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    expected = "bf16" if {"avx512_bf16", "amx_bf16"} & words else "fp32"
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_named_precision_is_taken_at_its_word(name):
    assert resolve_precision(name, CPU) == name


def test_fp16_on_a_cpu_is_refused_with_what_is_allowed():
    with pytest.raises(InputError, match="auto, fp32 or bf16"):
        resolve_precision("fp16", CPU)


def test_without_a_gpu_the_cpu_is_taken():
    assert choose_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99", ""])
def test_a_device_that_is_not_here_is_refused(name):
    with pytest.raises(InputError, match="device"):
        choose_device(name)
