# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recipe files and `--set` items as people write them by mistake, or as others send them: named with file and line, at once."""

import time

import pytest

from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.retrieval import RetrievalRecipe


MANY = "\n".join(f"k{number}: {number}" for number in range(20_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# ok\noptim:\n  optimizer: \xe9\n", r"line 3: not UTF-8 \(byte 0xe9\). Save the file as UTF-8"),
        ("optim: {lr: 1.0}".encode("utf-16"), r"line 1: not UTF-8 \(byte 0xff\)"),
        ("optim: &o {lr: 1}\nrun:\n  <<: *o\n", r"line 3: merging \(<<\) is not read"),
        ("a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n", r"line 2: aliases \(\*a\) are not read: write the values out"),
        ("a: &a [*a]\n", r"line 1: aliases \(\*a\)"),
        (f"run:\n  seed: {'9' * 5000}\n", r"line 2: '9{99} \.\.\. 9+' cannot be read as a value"),
        (f"run:\n  seed: 0x{'f' * 5000}\n", r"line 2: .* cannot be read as a value: it has more than 64 bits"),
        (f"optim: {{lr: {'9' * 400}}}\n", r"line 1: .* cannot be read as a value"),
        ("run: {seed: 2024-13-45}", r"line 1: '2024-13-45' cannot be read as a value: month"),
        (MANY, r"line \d+: these are too many values for a recipe"),
        (f"optim: {{{MANY.replace(chr(10), ', ')}}}", r"line 1: these are too many values for a recipe"),
        ("#" * 2_000_000, r"2000000 bytes are too many for a recipe"),
        (f"a: {'[' * 100_000}", r"line 1: .*nest"),
        ("".join(f"{' ' * depth}a:\n" for depth in range(100)), r"line 21: values are nested more than 20 deep"),
        ("optim:\n  lr: 1\n  eps: 2\n  lr: 3\n", r"line 4: key 'lr' is given twice"),
        ("optim:\n\tlr: 1\n", r"line 2: not valid YAML: found character"),
        ("optim: !!python/object/apply:os.system ['echo']\n", r"line 1: could not determine a constructor"),
        ("a: \x00", r"not valid YAML: unacceptable character #x0000"),
        ("? [a]\n: 1\n", r"line 1: found unhashable key"),
        ("run: {}\n---\nrun: {}\n", r"line 2: .*another document"),
        ('"\\e[31mred": 1\n', r"there is no section '\\x1b\[31mred'"),
        (f"optim: {{lr: {'k' * 90_000}}}", r"optim.lr: expected finite number, got 'k{99} \.\.\. k+' \(str\)"),
    ],
)
def test_what_is_no_recipe_is_named_with_file_and_line_in_under_a_second(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    started = time.process_time()
    with pytest.raises(RecipeError, match=message) as raised:
        RetrievalRecipe.load(path)
    assert time.process_time() - started < 1
    assert str(raised.value).startswith(str(path)) and len(str(raised.value)) < 1000
    assert str(raised.value).isprintable()


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbfoptm: {}\n")
    with pytest.raises(RecipeError, match=r"mine.yaml: there is no section 'optm'. Did you mean 'optim'\?"):
        RetrievalRecipe.load(path)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("optim.lrr=1", r"^--set optim.lrr=1: optim has no key 'lrr'. Did you mean 'lr'\?"),
        ("optim.learning_rate=1", r"^--set optim.learning_rate=1: .* Did you mean 'lr'\?"),
        ("run.lr=1", r"^--set run.lr=1: run has no key 'lr'. Did you mean optim.lr\?"),
        ("lr=1", r"^--set 'lr=1': expected section.key=value. Did you mean optim.lr\?"),
        ("optm.lr=1", r"^--set optm.lr=1: there is no section 'optm'. Did you mean 'optim'\?"),
        ("optim.lr=fast", r"^--set optim.lr=fast: optim.lr: expected finite number"),
        ("optim.lr=-1", r"^--set optim.lr=-1: optim.lr: expected at least 0"),
        ("optim.lr=[1", r"^--set 'optim.lr=\[1', line 1|2: not valid YAML"),
        ("data.datset=x", r"^--set data.datset=x: .*Did you mean 'dataset'\?"),
        ("run.output_dir=", r"^--set run.output_dir=: run.output_dir: "),
    ],
)
def test_a_wrong_item_is_not_blamed_on_the_file(tmp_path, item, message):
    with pytest.raises(RecipeError, match=message):
        RetrievalRecipe.load("quickstart/retrieval.yaml", [item])


def test_a_recipe_that_is_not_there_is_answered_with_one_that_is():
    with pytest.raises(RecipeError, match=r"no such recipe file .*Did you mean quickstart/retrieval.yaml\?"):
        RetrievalRecipe.load("quickstart/retreival.yaml")
