"""Names to models, and one sentence for everything that stands in the way."""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMultimodalLM, Blip2Config, Florence2Config, MistralForCausalLM
from transformers.utils import logging as transformers_logging

from microscope_tui.errors import MicroscopeError, OutOfMemory, one_line
from microscope_tui.models.load import open_model
from microscope_tui.slices.hub import HTTP_ERROR
from microscope_tui.terms import Modality, Progress, Stream
from tests.models.builders import CONTEXT, LAYERS, WIDTH, build_llava_next, text_config


@pytest.fixture
def folder(tmp_path, llava_next_folder) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(llava_next_folder, tmp_path / "model"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def refusal(name, **options) -> str:
    with pytest.raises(MicroscopeError) as caught:
        open_model(str(name), **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith((".", ")."))
    return text


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_an_open_model_says_what_it_is(llava_next, llava_next_folder):
    assert llava_next.name == str(llava_next_folder)
    assert llava_next.architecture == "LlavaNextForConditionalGeneration"
    assert (llava_next.layers, llava_next.width, llava_next.context) == (LAYERS, WIDTH, CONTEXT)
    assert (llava_next.dtype, llava_next.device, llava_next.attention) == ("float32", "cpu", "sdpa")
    assert llava_next.modalities == (Modality.TEXT, Modality.IMAGE)
    assert llava_next.streams == tuple(Stream)


def test_phases_are_told_and_the_terminal_is_left_alone(llava_next_folder, capfd):
    told: list[Progress] = []
    model = open_model(str(llava_next_folder), on_progress=told.append)
    model.prepare([])
    assert told[0] == Progress("looking for the model")
    assert Progress("loading weights", percent=100) in told
    assert told[-1] == Progress("checking the model")
    assert capfd.readouterr() == ("", "")


def test_libraries_speak_again_afterwards(llava_next_folder):
    before = logging.getLogger("transformers").level
    open_model(str(llava_next_folder))
    assert logging.getLogger("transformers").level == before
    assert transformers_logging.set_tqdm_hook(None) is None


def test_dtype_and_device(llava_next_folder):
    assert open_model(str(llava_next_folder), dtype="bfloat16").dtype == "bfloat16"
    assert "no precision 'int3'" in refusal(llava_next_folder, dtype="int3")
    assert "no kind of device 'abacus'" in refusal(llava_next_folder, device="abacus")
    if not torch.cuda.is_available():
        assert "There is no cuda here (0 GPUs" in refusal(llava_next_folder, device="cuda")
    assert "attention implementation 'nonesuch'" in refusal(llava_next_folder, attention="nonesuch")


def test_missing_folder_and_unknown_demo(tmp_path):
    assert "There is no folder" in refusal(tmp_path / "nowhere")
    assert "There is no demo model" in refusal("demo:nothing")
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refusal(tmp_path / "file")


def test_a_folder_without_configuration(folder):
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(folder)


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_damaged_configuration(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1")
    assert "config.json" in refusal(folder)


def test_a_missing_shard_is_named(tmp_path):
    folder = build_llava_next(tmp_path, max_shard_size="100KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert open_model(str(folder)).streams == tuple(Stream)
    shards[1].unlink()
    text = refusal(folder)
    assert "is incomplete" in text
    assert f"{shards[1].name} of its {len(shards)} weight files is missing" in text


def test_a_truncated_file_is_named(folder):
    weights = folder / "model.safetensors"
    whole = weights.stat().st_size
    with weights.open("r+b") as stream:
        stream.truncate(whole - 1000)
    assert f"it has {whole - 1000:,} of {whole:,} bytes" in refusal(folder)
    with weights.open("r+b") as stream:
        stream.truncate(4)
    assert "model.safetensors is not a readable safetensors file" in refusal(folder)


def test_a_missing_tensor_is_not_made_up(folder):
    tensors = load_file(folder / "model.safetensors")
    gone = next(name for name in tensors if name.endswith("layers.2.mlp.down_proj.weight"))
    del tensors[gone]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lack model.language_model.layers.2.mlp.down_proj.weight" in refusal(folder)


def test_a_tensor_of_another_shape(folder):
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder / "config.json", text_config={**text, "intermediate_size": 64})
    said = refusal(folder)
    assert "layers.0.mlp.down_proj.weight of shape (48, 96), and its config.json asks for (48, 64)" in said


def test_a_configuration_of_another_family_of_the_same_names(folder):
    """LLaVA has all weights that LLaVA-NeXT has, but for the newline, and takes one view of a picture."""
    edit(folder / "config.json", model_type="llava", architectures=["LlavaForConditionalGeneration"])
    said = refusal(folder)
    assert "A small picture with a question cannot go through" in said
    assert "its configuration, weights and processor do not belong together." in said


def test_a_tokenizer_with_more_words_than_the_model(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["What"] = 500
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "do not belong together" in refusal(folder)


def test_weights_without_a_place_are_told(folder):
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder / "config.json", text_config={**text, "num_hidden_layers": 2, "layer_types": None})
    model = open_model(str(folder))
    assert model.layers == 2
    assert "18 tensors of its weights, like model.language_model.layers.2." in model.notes[-1]


def test_a_context_that_holds_no_picture(folder):
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder / "config.json", text_config={**text, "max_position_embeddings": 8})
    said = refusal(folder)
    assert "cannot take a small picture with a question: it has 102 tokens and the context" in said
    assert "probe" not in said


def test_pickled_weights_are_not_read(folder):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "only pickled weights (.bin)" in refusal(folder)
    (folder / "pytorch_model.bin").unlink()
    assert "has no weights" in refusal(folder)


def test_a_text_only_model(tmp_path):
    MistralForCausalLM(text_config()).save_pretrained(tmp_path)
    assert "is a mistral model, which takes text only" in refusal(tmp_path)


@pytest.mark.parametrize(
    "config", [Florence2Config(), Blip2Config(text_config={"model_type": "t5"})], ids=["florence2", "blip-2 with T5"]
)
def test_a_model_whose_encoder_reads_the_text(folder, config):
    config.save_pretrained(folder)
    assert f"is a {config.model_type} model with an encoder that reads pictures and text" in refusal(folder)


def test_a_model_type_that_needs_its_own_code(folder):
    edit(folder / "config.json", model_type="homemade", auto_map={"AutoConfig": "code.HomemadeConfig"})
    (folder / "code.py").write_text("raise SystemExit('executed')")
    assert "code of its own, which is never run" in refusal(folder)
    edit(folder / "config.json", auto_map={})
    assert re.search(r"is a homemade model, which transformers \d.* does not know: update", refusal(folder))


def test_a_configuration_that_names_no_placeholder(folder, monkeypatch):
    monkeypatch.setattr("microscope_tui.models.generic.placeholder_ids", lambda config: {})
    assert "names no token id" in refusal(folder)


def test_no_processor(folder):
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)
    assert "processor" in refusal(folder)


def test_no_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "has no tokenizer (tokenizer.json): download it again" in refusal(folder)
    (folder / "tokenizer.json").write_text('{"model": 1}')
    assert "its processor cannot be read (there is no 'added_tokens'); mend or download" in refusal(folder)


def test_a_reason_that_goes_on_behind_a_colon_is_told(folder):
    edit(folder / "config.json", image_token_index=None, image_token_id=None)
    assert "expected int, got NoneType" in refusal(folder)


def test_a_library_that_is_missing_is_named(folder, monkeypatch):
    def needs(*_args, **_options):
        raise ImportError("Package `num2words` is required: `pip install num2words`.")

    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", needs)
    assert "reading processor needs a library that is not installed here (Package `num2words`" in refusal(folder)


def test_an_adapter_alone(folder):
    (folder / "model.safetensors").unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    assert "holds an adapter of some/base and not a whole model: merge" in refusal(folder)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": None}))
    assert "holds an adapter and not a whole model: merge" in refusal(folder)


def test_a_folder_of_which_only_the_settings_of_the_tokenizer_are_there(folder):
    (folder / "tokenizer.json").unlink()
    assert (folder / "tokenizer_config.json").is_file()
    assert "has no tokenizer (tokenizer.json): download it again" in refusal(folder)


def test_an_error_in_one_line_ends_without_a_stop_or_a_comma():
    assert one_line(ValueError("needs one of:\n  - a tokenizer file,\n  - a folder.")) == (
        "needs one of: - a tokenizer file"
    )
    assert one_line(ValueError("It is gone.")) == "It is gone"


def test_a_decoder_without_layers(folder):
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder / "config.json", text_config={**text, "num_hidden_layers": 0, "layer_types": None})
    assert "has no layers: mend its config.json" in refusal(folder)


def test_embeddings_that_are_not_finite(folder):
    tensors = load_file(folder / "model.safetensors")
    table = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    tensors[table].fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "The embedding table has numbers that are not finite" in refusal(folder)


@pytest.mark.parametrize("broken", ["layers.2.mlp.down_proj.weight", "multi_modal_projector.linear_1.weight"])
def test_a_weight_that_is_not_finite_is_named(folder, broken):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith(broken) and "vision" not in name)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    said = refusal(folder)
    assert re.search(rf"not finite in float32; its weights \S+{broken} are not either: download", said)


def test_a_processor_that_needs_torchvision(folder, monkeypatch):
    def needs(*_args, **_options):
        raise ImportError("Qwen2VLVideoProcessor requires the Torchvision library\nbut it was not found")

    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", needs)
    assert "install torchvision" in refusal(folder)


def test_a_processor_that_does_not_fit_the_model(folder):
    edit(folder / "processor_config.json", patch_size=None)
    assert "cannot make inputs of a picture and a question" in refusal(folder)


def test_memory_that_runs_out_while_loading(folder, monkeypatch):
    def full(*_args, **_options):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(AutoModelForMultimodalLM, "from_pretrained", full)
    with pytest.raises(OutOfMemory, match="does not fit into the memory of cpu"):
        open_model(str(folder))


def response(status: int):
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (lambda: GatedRepoError("no", response=response(403)), "someone/model is gated: ask for access"),
        (lambda: RepositoryNotFoundError("no", response=response(404)), "The hub has no model someone/model"),
        (lambda: RevisionNotFoundError("no", response=response(404)), "someone/model has no revision"),
        (lambda: LocalEntryNotFoundError("no"), "the hub cannot be reached"),
        (lambda: OfflineModeIsEnabled("no"), "the hub cannot be reached"),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), "No space is left for someone/model"),
        (lambda: RuntimeError("write: No space left on device (os error 28)"), "No space is left for someone/model"),
        (lambda: HTTP_ERROR("peer closed the connection"), "could not be downloaded (peer closed the connection)"),
        (lambda: TypeError("string indices"), "someone/model could not be downloaded (string indices)"),
        (lambda: OSError("odd"), "someone/model could not be downloaded (odd)"),
    ],
)
def test_downloads_that_fail(hub, monkeypatch, error, sentence):
    def fail(*_args, **_options):
        raise error()

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert sentence in refusal("someone/model")


def test_offline_and_not_in_the_cache(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "someone/model is not in the local hub cache and HF_HUB_OFFLINE forbids" in refusal("someone/model")


def test_a_folder_with_the_name_of_a_hub_id_is_pointed_at(hub, tmp_path, monkeypatch):
    (tmp_path / "someone" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert refusal("someone/model").endswith("There is a someone/model here: write ./someone/model to mean it.")


def snapshot(hub: Path, folder: Path, repo: str = "someone/model", commit: str = "0123abcd") -> Path:
    root = hub / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(folder, root / "snapshots" / commit))


def test_a_cached_hub_id_is_opened_without_the_hub(hub, monkeypatch, llava_next_folder):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    snapshot(hub, llava_next_folder)
    model = open_model("someone/model")
    assert model.identity == "someone/model@0123abcd"
    assert model.name == "someone/model"


def test_an_incomplete_snapshot_that_cannot_be_completed_is_named(hub, monkeypatch, llava_next_folder):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (snapshot(hub, llava_next_folder) / "model.safetensors").unlink()
    assert "has no weights (model.safetensors)" in refusal("someone/model")


def test_what_is_missing_is_downloaded(hub, monkeypatch, llava_next_folder):
    asked = []

    def download(repo, *, revision, allow_patterns, tqdm_class):
        asked.append((repo, revision, allow_patterns))
        with tqdm_class(total=200e6, unit="B") as bar:
            bar.update(100e6)
            bar.update(100e6)
        return str(llava_next_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    told: list[Progress] = []
    open_model("someone/model@v2", on_progress=told.append)
    assert asked[0][:2] == ("someone/model", "v2")
    assert not any(pattern == "*" or pattern.endswith((".bin", ".py")) for pattern in asked[0][2])
    assert Progress("downloading 0.2 of 0.2 GB") in told
