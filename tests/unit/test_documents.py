"""What the runner of documents lets pass, and what not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.documents import Given, Shell, Step, changes, follow, steps

PAGE = """
Ask it:

```console
$ curl -s http://web/
It works!
$ for each in 1 2
> do echo $each; done
1
...
```

```yaml
$ not: a command
```
"""


def test_a_page_is_its_commands_with_what_they_print() -> None:
    assert steps(PAGE) == [
        Step(5, "curl -s http://web/", ("It works!",)),
        Step(7, "for each in 1 2\ndo echo $each; done", ("1", "...")),
    ]


def test_a_block_without_a_command_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="line 2: a console block begins with"):
        steps("```console\nIt works!\n```")


@pytest.mark.parametrize(
    ("page", "said", "fits"),
    [
        (("one",), "one\n", True),
        (("one",), "one\ntwo\n", False),
        (("one", "..."), "one\n", True),
        (("one", "...", "three"), "one\ntwo\nmore\nthree\n", True),
        (("one", "...", "three"), "one\ntwo\n", False),
        (("AGE ... web",), "AGE 5s web\n", True),
        (("AGE ... web",), "AGE\n web\n", False),
        ((), "", True),
        ((), "something\n", False),
        (("10.96.0.80 10.244.0.1",), "10.96.0.81 10.244.0.1\n", False),
        (("10.96.0.80 10.244.0.1",), "10.96.0.80 10.244.0.7\n", False),
    ],
)
def test_only_what_three_dots_stand_for_differs(page: tuple[str, ...], said: str, fits: bool) -> None:
    assert Given().fits(page, said) is fits


def test_a_pods_address_stands_for_another_of_its_node_throughout_the_page() -> None:
    given = Given()
    assert not given.fits(("web-b 10.244.1.2",), "web-b 10.244.2.2\n"), "of another node"
    assert given.fits(("web-b 10.244.1.2",), "web-b 10.244.1.7\n")
    assert given.here("curl http://10.244.1.2/") == "curl http://10.244.1.7/"
    assert not given.fits(("to 10.244.1.2:80",), "to 10.244.1.8:80\n"), "another one later"
    assert not given.fits(("me 10.244.1.3",), "me 10.244.1.7\n"), "two for one"


def test_chains_of_endpoints_do_too() -> None:
    given = Given()
    line, other = "-j KUBE-SEP-AAAAAAAAAAAAAAAA", "-j KUBE-SEP-BBBBBBBBBBBBBBBB"
    assert not given.fits((line, line), f"{line}\n{other}\n")
    assert given.fits((line, line), f"{other}\n{other}\n")
    assert not given.fits(("-j KUBE-SVC-AAAAAAAAAAAAAAAA",), "-j KUBE-SVC-BBBBBBBBBBBBBBBB\n")


@pytest.mark.parametrize(
    ("command", "once"),
    [
        ("kubectl get pods", False),
        ("kubectl apply -f web.yaml", True),
        ("kubectl wait --for=condition=Ready pod --all", False),
        ("fairway exec me -- curl -s http://web/", False),
        ("kubectl label pod web-c app-", True),
        ("fairway kill-node node-c", True),
    ],
)
def test_what_is_not_done_twice(command: str, once: bool) -> None:
    assert changes(command) is once


def page(folder: Path, *lines: str) -> Path:
    written = folder / "page.md"
    written.write_text("\n".join(["```console", *lines, "```"]))
    return written


def test_a_page_is_followed_in_one_shell_and_looked_at_again(tmp_path: Path) -> None:
    count = "echo x >> seen; wc -l < seen"
    with Shell(tmp_path, os.environ) as shell:
        follow(shell, page(tmp_path, "$ name=web", f"$ {count}", "3", "$ echo $name; cat", "web"))


def test_what_a_page_says_wrongly_is_shown(tmp_path: Path) -> None:
    with Shell(tmp_path, os.environ) as shell:
        assert shell.run("echo one; echo two >&2; false") == (1, "one\ntwo\n")
        with pytest.raises(
            AssertionError, match=r"page.md, line 2: exit code \d+\n.*\nThe page says:\nfine\nIt said:\n"
        ):
            follow(shell, page(tmp_path, "$ kubectl no-such-command 2>&1 | head -0; false", "fine"))


def test_a_command_that_hangs_ends_with_the_shell(tmp_path: Path) -> None:
    with Shell(tmp_path, os.environ) as shell, pytest.raises(TimeoutError, match="so far it said:\nbegun"):
        shell.run("echo begun; sleep 1000", seconds=0.5)
