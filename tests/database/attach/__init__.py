import pytest

pytest.register_assert_rewrite("tests.database.attach.following")
