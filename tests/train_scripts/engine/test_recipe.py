# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Recipes: what is read, what is refused, and what the refusal says."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from stub_task import StubTask

from clipbert.train_scripts.engine.command_line import parse_command_line
from clipbert.train_scripts.engine.recipe import DataSection, Recipe, RecipeError, option
from clipbert.train_scripts.engine.values import RECIPES
from clipbert.train_scripts.image_qa import ImageQATask
from clipbert.train_scripts.pretrain import PretrainTask
from clipbert.train_scripts.retrieval import RetrievalTask
from clipbert.train_scripts.video_qa import VideoQATask


MINIMAL = {
    "model": {"family": "clipbert", "from_pretrained": "somewhere"},
    "data": {"dataset": "synthetic"},
    "run": {"output_dir": "out", "total_steps": 10},
}


def write(tmp_path: Path, text: str | dict) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return path


def minimal(**sections) -> dict:
    return {name: {**MINIMAL.get(name, {}), **sections.get(name, {})} for name in MINIMAL.keys() | sections.keys()}


def test_defaults_fill_what_the_file_leaves_out(tmp_path):
    recipe = Recipe.load(write(tmp_path, MINIMAL))
    assert (recipe.run.total_steps, recipe.optim.lr, recipe.data.num_workers) == (10, 5e-5, 2)


def test_set_replaces_and_adds_values(tmp_path):
    recipe = Recipe.load(
        write(tmp_path, MINIMAL),
        ["optim.lr=3e-4", "run.total_steps=7", "model.overrides.score_pooling=lse", "eval.splits={test: final}"],
    )
    assert recipe.optim.lr == 3e-4
    assert recipe.run.total_steps == 7
    assert recipe.model.overrides == {"score_pooling": "lse"}
    assert recipe.eval.splits == {"test": "final"}


def test_a_number_that_pyyaml_reads_as_text_is_a_number(tmp_path):
    assert isinstance(yaml.safe_load("5e-5"), str)  # the trap
    path = write(tmp_path, yaml.safe_dump(MINIMAL) + "optim: {lr: 5e-5, weight_decay: 1, betas: [0.9, 98e-2]}\n")
    optim = Recipe.load(path).optim
    assert (optim.lr, optim.weight_decay, optim.betas) == (5e-5, 1.0, [0.9, 0.98])
    assert isinstance(optim.weight_decay, float)


def test_saved_recipe_reads_back_equal(tmp_path):
    recipe = Recipe.load(write(tmp_path, MINIMAL), ["optim.lr=1.0e-7", "eval.splits={val: tuning}", "eval.metric=acc"])
    recipe.save(tmp_path / "resolved.yaml")
    assert Recipe.load(tmp_path / "resolved.yaml") == recipe


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"num_worker": 2}}, r"recipe.yaml: data has no key 'num_worker'. Did you mean 'num_workers'\?"),
        ({"dta": {}}, r"there is no section 'dta'. Did you mean 'data'\?"),
        ({"zzz": {}}, r"there is no section 'zzz'. Known: model, data, optim, run, eval."),
        (
            {"run": {"global_batch_size": "many"}},
            r"recipe.yaml: run.global_batch_size: expected int, got 'many' \(str\)",
        ),
        ({"run": {"global_batch_size": 8.0}}, r"run.global_batch_size: expected int, got 8.0 \(float\)"),
        ({"run": {"seed": True}}, r"run.seed: expected int, got True \(bool\)"),
        ({"run": {"seed": None}}, r"run.seed: expected int, got None \(null\)"),
        ({"optim": {"lr": "fast"}}, r"optim.lr: expected finite number, got 'fast' \(str\)"),
        ({"optim": {"betas": [0.9, "x"]}}, r"optim.betas.1: expected finite number, got 'x' \(str\)"),
        ({"optim": {"lr": -1.0}}, r"optim.lr: expected at least 0, got -1.0"),
        ({"optim": {"warmup_ratio": 10}}, r"optim.warmup_ratio: expected at least 0 and at most 1, got 10.0"),
        ({"optim": {"lr": float("nan")}}, r"optim.lr: expected finite number, got nan \(float\)"),
        ({"optim": {"lr": float("inf")}}, r"optim.lr: expected finite number, got inf"),
        ({"optim": {"max_grad_norm": ".nan"}}, r"optim.max_grad_norm: expected finite number, got '.nan' \(str\)"),
        ({"run": {"num_epochs": float("inf")}}, r"run.num_epochs: expected finite number, got inf"),
        (
            {"optim": {"schedule": "linaer"}},
            r"optim.schedule: expected one of linear, cosine, .*, got 'linaer' \(str\)",
        ),
        (
            {"eval": {"splits": {"val": "watch"}}},
            r"eval.splits.val: expected one of tuning, monitor, final, got 'watch'",
        ),
        ({"data": {"options": [1]}}, r"data.options: expected keys with any value, got \[1\] \(list\)"),
        (
            {"eval": {"splits": ["test"]}},
            r"eval.splits: expected keys with one of tuning, monitor, final, got \['test'\]",
        ),
        ({"data": {"skip_list": [3]}}, r"data.skip_list.0: expected str, got 3 \(int\)"),
        ({"run": {"num_epochs": 2}}, r"run.total_steps: give either total_steps or num_epochs; got 10 and 2.0"),
        ({"run": {"total_steps": 0, "push_to_hub": "u/m"}}, r"run.push_to_hub: without training .*publish.py"),
        ({"run": {"output_dir": __file__}}, r"run.output_dir: .*test_recipe.py is a file; name a folder"),
        ({"run": {"global_batch_size": 9, "micro_batch_size": 2}}, r"run.global_batch_size: 9 is not a multiple"),
        ({"model": {"parts": {"vision": "resnet"}}}, r"one start; .* got \['from_pretrained', 'parts'\]"),
        ({"model": {"family": None}}, r"model.family: missing"),
        ({"model": {"family": "clpbert"}}, r"recipe.yaml: model.family: There is no family 'clpbert'"),
        ({"model": {"clips_per_chunk": 0}}, r"model.clips_per_chunk: expected at least 1, got 0"),
        ({"model": {"clip_per_chunk": 2}}, r"model has no key 'clip_per_chunk'. Did you mean 'clips_per_chunk'\?"),
        ({"optim": {"groups": {"head": {"lrr": 1}}}}, r"optim.groups.head has no key 'lrr'. Did you mean 'lr'\?"),
        ({"optim": {"optimizer": "sgd"}}, r"optim.optimizer: expected one of adamw, adam, adamw_official, got 'sgd'"),
        ({"run": {"eval_every": "epochs"}}, r"run.eval_every: expected int or epoch or null, got 'epochs'"),
        ({"model": {"from_pretrained": None}}, r"model.from_pretrained: a model has one start; .* got none"),
        ({"optim": {"schedule": "multi_step"}}, r"optim.milestones: `multi_step` needs increasing steps"),
        ({"optim": {"milestones": [5]}}, r"optim.milestones: .* others none; got \[5\] with linear"),
        (
            {"optim": {"schedule": "multi_step", "milestones": [5, 10]}},
            r"optim.milestones: \[5, 10\] has steps that run.total_steps=10 does not reach",
        ),
        ({"eval": {"splits": {"val": "tuning"}}}, r"eval.metric: needed with a tuning split"),
        (
            {"eval": {"splits": {"test[:50%]": "tuning"}, "metric": "x"}},
            r"eval.splits: choosing a checkpoint on test\[:50%\] makes .* set eval.allow_test_selection",
        ),
        ({"eval": {"splits": {"test+validation": "tuning"}, "metric": "x"}}, r"set eval.allow_test_selection"),
        ({"eval": {"splits": {"val": "tuning"}, "metric": "num_examples"}}, r"eval.metric: 'num_examples' chooses no"),
        (
            {"eval": {"splits": {"val": "tuning"}, "metric": "mean_rank", "metric_goal": "max"}},
            r"eval.metric_goal: max would choose the worst mean_rank",
        ),
        ({"eval": {"splits": {"test": "tuning"}, "metric": "x"}}, r"eval.splits: .* set eval.allow_test_selection"),
    ],
)
def test_mistakes_are_named(tmp_path, sections, message):
    with pytest.raises(RecipeError, match=message):
        Recipe.load(write(tmp_path, minimal(**sections)))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"num_clip": 2}}, r"recipe.yaml: data has no key 'num_clip'. Did you mean 'num_clips'\?"),
        ({"data": {"fps": 0}}, r"data.fps: must be above 0"),
        ({"eval": {"num_draws": 2}}, r"eval.num_draws: 2 draws of the same clips say nothing"),
    ],
)
def test_mistakes_about_clips_are_named(tmp_path, sections, message):
    with pytest.raises(RecipeError, match=message):
        RetrievalTask.recipe_class.load(write(tmp_path, minimal(**sections)))


def test_all_contradictions_are_reported_at_once(tmp_path):
    path = write(tmp_path, minimal(run={"output_dir": "", "num_epochs": 1}, data={"dataset": ""}))
    with pytest.raises(RecipeError, match=r"data.dataset.*run.output_dir.*run.total_steps: give either"):
        Recipe.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {seed: 1, seed: 2}", "key 'seed' is given twice"),
        ("run: {seed: 1", "not valid YAML"),
        ("- 1", "expected sections with keys, got list"),
        ("run: 3", r"run: expected keys with values, got 3 \(int\)"),
    ],
)
def test_broken_files_are_refused(tmp_path, text, message):
    with pytest.raises(RecipeError, match=message):
        Recipe.load(write(tmp_path, text))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere.yaml: no such recipe file"):
        Recipe.load(tmp_path / "nowhere.yaml")


def test_recipes_of_the_package_are_named_by_their_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, schema = "quickstart/retrieval.yaml", RetrievalTask.recipe_class
    assert schema.load(name) == schema.load(RECIPES / name)
    (tmp_path / "quickstart").mkdir()  # a file of one's own comes first
    write(tmp_path, minimal(run={"output_dir": "own"})).rename(tmp_path / name)
    assert Recipe.load(name).run.output_dir == "own"


@pytest.mark.parametrize("item", ["run.seed", "seed=1", ".seed=1", "run.=1", "run.seed.x=1"])
def test_malformed_set_is_refused(tmp_path, item):
    with pytest.raises(RecipeError, match="--set"):
        Recipe.load(write(tmp_path, minimal(run={"seed": 1})), [item])


def test_mixed_precision_no_is_not_false(tmp_path):
    path = write(
        tmp_path, yaml.safe_dump(MINIMAL).replace("total_steps: 10", "total_steps: 10\n  mixed_precision: no")
    )
    assert Recipe.load(path).run.mixed_precision == "no"


def test_a_task_extends_the_schema(tmp_path):
    @dataclass(kw_only=True)
    class AnswerData(DataSection):
        num_answers: int = option(1500, "Answers kept.", at_least=1)

    @dataclass(kw_only=True)
    class AnswerRecipe(Recipe):
        data: AnswerData = field(default_factory=AnswerData)

    path = write(tmp_path, minimal(data={"num_answers": 3}))
    assert AnswerRecipe.load(path).data.num_answers == 3
    with pytest.raises(RecipeError, match="data has no key 'num_answers'"):
        Recipe.load(path)


@pytest.mark.parametrize(
    ("task", "settings", "metric", "message"),
    [
        (RetrievalTask, [], "text_to_video_r1", r"'text_to_video_r1' chooses no checkpoint.* text_to_video_R@1"),
        (RetrievalTask, [], "num_texts", r"'num_texts' chooses no checkpoint"),
        (VideoQATask, [], "acuracy", r"Use accuracy"),
        (VideoQATask, [], "mean_squared_error", r"'mean_squared_error' chooses no checkpoint"),
        (VideoQATask, ["model.answer=count"], "accuracy_what", r"Use accuracy"),
        (ImageQATask, [], "accuracy", r"Use vqa_score"),
        (PretrainTask, [], "itm_los", r"Use itm_loss"),
        (PretrainTask, ['data.dataset=""'], "coco_itm_lss", r"Use coco_itm_loss"),
    ],
)
def test_a_metric_that_a_task_does_not_give_is_refused_with_the_nearest(tmp_path, task, settings, metric, message):
    mixture = "data.datasets=[{dataset: coco}, {dataset: vg}]"
    settings = [*settings, *([mixture] if settings == ['data.dataset=""'] else [])]
    tuning = ["eval.splits={validation: tuning}", f"eval.metric={metric}"]
    with pytest.raises(RecipeError, match=f"eval.metric: .*{message}"):
        task.recipe_class.load(write(tmp_path, minimal()), [*settings, *tuning])


@pytest.mark.parametrize(
    ("task", "settings", "metric", "goal"),
    [
        (RetrievalTask, [], "video_to_text_R@10", "max"),
        (RetrievalTask, [], "text_to_video_median_rank", "min"),
        (VideoQATask, ["model.answer=count"], "mean_squared_error", "min"),
        (VideoQATask, ["model.answer=open"], "accuracy_how", "max"),
        (ImageQATask, [], "vqa_score_yes/no", "max"),
        (PretrainTask, [], "itm_loss", "min"),
        (PretrainTask, ['data.dataset=""', "data.datasets=[{dataset: coco}, {dataset: vg}]"], "vg_mlm_loss", "min"),
        (StubTask, [], "perplexity", "max"),
    ],
)
def test_the_goal_follows_from_the_metric_and_cannot_contradict_it(tmp_path, task, settings, metric, goal):
    path, tuning = write(tmp_path, minimal()), ["eval.splits={validation: tuning}", f"eval.metric={metric}"]
    assert task.recipe_class.load(path, [*settings, *tuning]).eval.goal == goal
    other = "min" if goal == "max" else "max"
    contradiction = [*settings, *tuning, f"eval.metric_goal={other}"]
    if task is StubTask:  # a metric that nobody has declared may be the better the smaller
        assert task.recipe_class.load(path, contradiction).eval.goal == other
    else:
        with pytest.raises(RecipeError, match=f"eval.metric_goal: {other} would choose the worst {metric}"):
            task.recipe_class.load(path, contradiction)


def test_differences_name_key_and_values(tmp_path):
    path = write(tmp_path, MINIMAL)
    changed = [
        "optim.lr=1.0",
        "run.log_every=3",
        "eval.batch_size=2",
        "model.clips_per_chunk=3",
        "optim.groups.head.lr=1",
    ]
    first, second = Recipe.load(path), Recipe.load(path, changed)
    assert first.differences(second) == [
        "optim.lr: 5e-05 != 1.0",
        "optim.groups: {} != {'head': {'lr': 1.0, 'weight_decay': None, 'decay_all': False}}",
    ]


def test_what_is_changeable_in_a_list_of_sections_may_differ(tmp_path):
    path, sets = (
        write(tmp_path, minimal(data={"dataset": ""})),
        "data.datasets=[{dataset: coco, data_dir: %s, weight: %s}]",
    )
    first, moved, heavier = (
        PretrainTask.recipe_class.load(path, [sets % values]) for values in (("a", 1), ("b", 1), ("a", 2))
    )
    assert first.differences(moved) == []
    assert len(first.differences(heavier)) == 1


def test_the_family_of_a_checkpoint_folder_need_not_be_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clipbert"}')
    settings = ["model.family=null", f"model.from_pretrained={tmp_path}", "model.clips_per_chunk=2"]
    recipe = Recipe.load(write(tmp_path, MINIMAL), settings)
    assert (recipe.model.family, recipe.model.clips_per_chunk) == ("clipbert", 2)
    assert pickle.loads(pickle.dumps(recipe)) == recipe  # workers that do not fork get their settings so


def test_options_of_a_family_outside_are_read_checked_and_listed(tmp_path, monkeypatch, capsys):
    (tmp_path / "modeling_foreign").mkdir()
    (tmp_path / "modeling_foreign" / "__init__.py").write_text(
        "from dataclasses import dataclass\n"
        "from clipbert.support.options import option\n\n\n"
        "@dataclass(kw_only=True)\n"
        "class Options:\n"
        "    depth: int = option(3, 'How deep.', at_least=1, saves='memory')\n\n"
        "    def problems(self):\n"
        "        if self.depth == 13:\n"
        "            yield 'depth: brings bad luck'\n\n\n"
        "RECIPE_OPTIONS = {'data': Options}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = write(tmp_path, minimal(model={"family": "foreign"}, data={"depth": 5}))
    recipe = Recipe.load(path)
    assert recipe.data.depth == 5
    assert "data.depth (5)" in recipe.keys_that_save("memory", "data")
    assert recipe.differences(Recipe.load(path, ["data.depth=4"])) == ["data.depth: 5 != 4"]
    with pytest.raises(RecipeError, match="data.depth: brings bad luck.*run.output_dir: missing"):
        Recipe.load(path, ["data.depth=13", "run.output_dir=''"])
    with pytest.raises(RecipeError, match="data.depth: expected at least 1, got 0"):
        Recipe.load(path, ["data.depth=0"])
    with pytest.raises(SystemExit):
        parse_command_line(Recipe, ["--help", "--recipe", str(path)])
    assert "data.depth (int, default 3) [foreign]: How deep." in capsys.readouterr().out


def test_help_lists_every_key(capsys):
    with pytest.raises(SystemExit):
        parse_command_line(Recipe, ["--help"])
    printed = capsys.readouterr().out
    assert "optim.warmup_ratio" in printed
    assert "Share of the steps over which the rate rises." in printed


def test_command_line_has_two_options_only():
    with pytest.raises(SystemExit):
        parse_command_line(Recipe, ["--lr", "1"])
