"""What train.py is handed."""

import pytest

from baselines.training.experiment import Settings


def test_method_settings_are_read_only_and_count_their_reads():
    method = Settings({"alpha": 0.5, "layers": 3})
    assert method.alpha + method.alpha + method.layers == 4
    assert method.reads == {"alpha": 2, "layers": 1}
    with pytest.raises(AttributeError, match=r"experiment\.method\.alpha is fixed by the plan"):
        method.alpha = 0.9
    with pytest.raises(AttributeError, match="no method setting 'beta'; it has alpha, layers"):
        method.beta  # noqa: B018
    assert method.alpha == 0.5
