"""The suite runs in as many processes as the Makefile says; tests that share something expensive stay in one."""

import pytest


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        shared = "gates" if "gates" in getattr(item, "fixturenames", ()) else item.path.parent.name + item.path.name
        item.add_marker(pytest.mark.xdist_group(shared))
