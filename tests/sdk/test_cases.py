"""The public client cases, for both shells, against our server: all, those that the suite itself skips included."""

import httpx
import pytest

from tests.sdk.cases import FLAGS, AdapterProcess, Case, CaseRunner, load_cases
from tests.sdk.conftest import CASES_FOLDER
from tests.sdk.servers import ServerProcess

CASES = list(load_cases(CASES_FOLDER))


@pytest.mark.skipif(not CASES, reason=f"the client cases are not there: {CASES_FOLDER}")
def test_the_cases_are_all_there() -> None:
    assert len(CASES) >= 241
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.skipif(not CASES, reason=f"the client cases are not there: {CASES_FOLDER}")
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_case_holds(
    case: Case, adapter: AdapterProcess, own_server: ServerProcess, plain_http: httpx.Client
) -> None:
    for name in case.requires:
        assert adapter.features[FLAGS.get(name, name)], f"the adapter declares {name} missing"
    CaseRunner(case, adapter, own_server.url, plain_http).run()
