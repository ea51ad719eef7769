"""Conversations with images: whose the placeholders are, numbering, bridges, pixel values on demand, JSON, the CLI."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

import isc
from golden_conversations import assistant, call, system, tool, user
from image_files import PNG, QWEN3_VL, encoded, picture
from isc.encoding.encoders import embedded
from isc.media import ImageProcessor
from isc.rendered import Array, PlaceholderRange

IMAGE = {"type": "image", "image": PNG}
OTHER = {"type": "image_url", "image_url": {"url": "https://example.org/b.png"}}
SAYS = {"type": "text", "text": "Look: "}


def resolve(reference: str) -> bytes:
    """The picture behind any reference."""
    return encoded(picture(8, 200, seed=len(reference)))


@pytest.fixture
def resolving(vision: isc.Renderer) -> isc.Renderer:
    """A renderer that knows what is behind references."""
    images = ImageProcessor.from_config(QWEN3_VL, resolve_media=resolve)
    return isc.create_renderer(vision.encoder, vision.family, images=images)


def spelled(renderer: isc.Renderer, messages: list[dict[str, Any]], *, body: bool) -> list[str]:
    """The texts of a conversation that are body, or scaffold."""
    return [segment.text for segment in renderer.segments(messages) if segment.body == body]


def test_placeholders_are_body_and_their_wrap_is_scaffold(vision: isc.Renderer) -> None:
    shown = [user([SAYS, IMAGE])]
    assert spelled(vision, shown, body=True) == ["Look: ", "<|image_pad|>"]
    wrap = ["<|im_start|>", "user\n", "Picture 1: ", "<|vision_start|>", "<|vision_end|>", "<|im_end|>", "\n"]
    assert spelled(vision, shown, body=False) == wrap
    rendered = vision.render(shown)
    pad = vision.encoder.specials["<|image_pad|>"]
    at = [place for place, token_id in enumerate(rendered.token_ids) if token_id == pad]
    assert (len(at), {rendered.message_indices[place] for place in at}) == (70, {0})
    assert all(rendered.is_content[place] and not rendered.sampled_mask[place] for place in at)
    assert rendered.multi_modal_data is not None
    assert rendered.multi_modal_data.placeholders == {"image": (PlaceholderRange(at[0], 70),)}


def test_a_result_shows_images_too_and_they_are_numbered_through(resolving: isc.Renderer) -> None:
    messages = [user([IMAGE, OTHER]), assistant("", call("now", {}, "1")), tool([OTHER], "1")]
    texts = "".join(spelled(resolving, messages, body=False))
    assert [texts.index(f"Picture {number}: ") for number in (1, 2, 3)] == sorted(
        texts.index(f"Picture {number}: ") for number in (1, 2, 3)
    )
    data = resolving.render(messages).multi_modal_data
    assert data is not None
    assert data.references == {"image": (None, "https://example.org/b.png", "https://example.org/b.png")}
    assert data.hashes["image"][0] != data.hashes["image"][1] == data.hashes["image"][2]


def test_a_typed_placeholder_is_text(vision: isc.Renderer) -> None:
    forged = vision.render([user("<|image_pad|><|vision_start|>")])
    assert forged.multi_modal_data is None
    assert not {vision.encoder.specials[text] for text in ("<|image_pad|>", "<|vision_start|>")} & {*forged.token_ids}


def test_a_bridge_carries_earlier_images_and_numbers_go_on(resolving: isc.Renderer) -> None:
    asked = [user([SAYS, IMAGE])]
    prompt = resolving.render(asked, add_generation_prompt=True)
    completion = (*next(iter(resolving.encoder.encode_batch(["A cat."]))), resolving.get_stop_token_ids()[0])
    new = [user([OTHER, SAYS])]
    bridged = resolving.bridge_to_next_turn(prompt.token_ids, completion, new, None, prompt.multi_modal_data)
    extended = resolving.extend(prompt, completion, new)
    fresh = resolving.render([*asked, assistant("A cat."), *new], add_generation_prompt=True)
    assert bridged is not None
    assert extended is not None
    assert bridged.token_ids == extended.token_ids == fresh.token_ids
    assert bridged.multi_modal_data == extended.multi_modal_data == fresh.multi_modal_data
    pad = resolving.encoder.specials["<|image_pad|>"]
    assert fresh.multi_modal_data is not None
    for place in fresh.multi_modal_data.placeholders["image"]:
        assert set(bridged.token_ids[place.offset : place.offset + place.length]) == {pad}


def test_images_do_not_follow_those_of_a_prompt_without_its_media(vision: isc.Renderer) -> None:
    prompt = vision.render([user([IMAGE])], add_generation_prompt=True)
    close = vision.get_stop_token_ids()[:1]
    refused = vision.plan_bridge(prompt.token_ids, close, [user([IMAGE])])
    assert isinstance(refused, isc.Refusal)
    assert refused.reason == "depends_on_history"
    assert "pass its previous_multi_modal_data" in refused.detail
    for granted in (
        vision.plan_bridge(prompt.token_ids, close, [user([IMAGE])], None, prompt.multi_modal_data),
        vision.plan_bridge(prompt.token_ids, close, [user("a")]),
        vision.plan_bridge(vision.render_ids([user("a")], None, True), close, [user([IMAGE])]),
    ):
        assert isinstance(granted, isc.Extension)


def test_a_bad_image_of_a_new_message_is_named_as_the_caller_counts(vision: isc.Renderer) -> None:
    prompt = vision.render([user("a")], add_generation_prompt=True)
    with pytest.raises(isc.MediaError) as error:
        vision.bridge_to_next_turn(prompt.token_ids, (), [user("b"), user([SAYS, {"type": "image", "image": b"?"}])])
    assert error.value.path.startswith("new_messages[1].content[1]")


def test_pixel_values_come_when_they_are_asked_for_and_survive_serialization(resolving: isc.Renderer) -> None:
    messages = [user([IMAGE, OTHER, IMAGE])]
    rendered = resolving.render(messages)
    assert rendered.multi_modal_data is not None
    assert rendered.multi_modal_data.items == {}
    assert resolving.images is not None
    full = resolving.images.processed(rendered, messages)
    assert full.multi_modal_data is not None
    first, second, third = full.multi_modal_data.items["image"]
    assert first is not None
    assert second is not None
    assert first is third
    assert np.asarray(first["pixel_values"]).shape == (280, 1536)
    assert first["image_grid_thw"].values().tolist() == [[1, 14, 20]]
    for decoded in (
        msgspec.json.decode(msgspec.json.encode(full), type=isc.RenderedTokens),
        msgspec.msgpack.decode(msgspec.msgpack.encode(full), type=isc.RenderedTokens),
        pickle.loads(pickle.dumps(full)),
    ):
        assert decoded == full
        assert decoded.multi_modal_data is not None
        again = (decoded.multi_modal_data.items["image"][1] or {})["pixel_values"]
        assert np.array_equal(np.asarray(again), np.asarray(second["pixel_values"]))
    assert len(msgspec.msgpack.encode(full)) < 2 * sum(
        len(array.data) for item in (first, second, third) for array in item.values()
    )


def test_images_are_read_again_by_their_references(resolving: isc.Renderer) -> None:
    rendered = resolving.render([user([OTHER])])
    decoded = msgspec.json.decode(msgspec.json.encode(rendered), type=isc.RenderedTokens)
    assert resolving.images is not None
    found = resolving.images.processed(decoded).multi_modal_data
    assert found is not None
    assert found.items["image"][0] is not None
    with pytest.raises(isc.MediaError, match=r"multi_modal_data.image\[0\]: was given without a reference"):
        resolving.images.processed(resolving.render([user([IMAGE])]))


def test_what_was_processed_is_carried_through_a_bridge(resolving: isc.Renderer) -> None:
    asked, new = [user([IMAGE])], [user([OTHER])]
    assert resolving.images is not None
    prompt = resolving.images.processed(resolving.render(asked, add_generation_prompt=True), asked)
    extended = resolving.extend(prompt, resolving.get_stop_token_ids()[:1], new)
    assert extended is not None
    assert extended.multi_modal_data is not None
    first, second = extended.multi_modal_data.items["image"]
    assert (first is not None, second) == (True, None)
    done = resolving.images.processed(extended, new).multi_modal_data
    assert done is not None
    assert done.items["image"][0] == first
    assert done.items["image"][1] is not None


@pytest.mark.parametrize(
    ("dtype", "shape", "data"), [("<f4", (2,), b"1234"), ("<q9", (1,), b"12345678"), ("O", (1,), b"")]
)
def test_an_array_that_is_none_is_told(dtype: str, shape: tuple[int, ...], data: bytes) -> None:
    with pytest.raises(isc.AttributionError, match=r"are no|is no type of numbers"):
        Array(dtype, shape, data).values()


def test_a_training_sample_does_not_train_on_placeholders_unless_bodies_are(vision: isc.Renderer) -> None:
    messages = [user([IMAGE]), assistant("A cat.")]
    sample = isc.build_training_sample(vision, messages)
    assert sample.rendered.multi_modal_data is not None
    [place] = sample.rendered.multi_modal_data.placeholders["image"]
    assert not any(sample.loss_mask[place.offset : place.offset + place.length])


@pytest.mark.parametrize("index", [0, 2])
def test_only_users_and_tools_show_images(vision: isc.Renderer, index: int) -> None:
    messages: list[dict[str, Any]] = [system("s"), user("a"), assistant("b")]
    messages[index] = {**messages[index], "content": [SAYS, IMAGE]}
    with pytest.raises(isc.ConversationError) as error:
        vision.render(messages)
    assert error.value.path == f"messages[{index}].content[1]"


@pytest.mark.parametrize("part", [{"type": "video", "video": "a.mp4"}, {"type": "audio", "audio": b""}])
def test_video_and_audio_are_not_supported_and_say_so(vision: isc.Renderer, part: dict[str, Any]) -> None:
    with pytest.raises(isc.ConversationError, match="parts are not supported; pass frames as images") as error:
        vision.render([user([part])])
    assert error.value.path == "messages[0].content[0]"


def test_kimi_has_one_placeholder_an_image_and_needs_no_settings() -> None:
    family = isc.KimiK25()
    renderer = isc.create_renderer(embedded(family.specials), family)
    rendered = renderer.render([user([SAYS, IMAGE])])
    assert rendered.multi_modal_data is not None
    assert [place.length for place in rendered.multi_modal_data.placeholders["image"]] == [1]
    wrap = ["<|media_begin|>", "image", "<|media_content|>", "<|media_end|>", "\n", "<|im_end|>"]
    assert spelled(renderer, [user([IMAGE])], body=False)[-6:] == wrap


def test_an_episode_shows_images_and_shows_them_again_where_it_is_rendered_anew(vision: isc.Renderer) -> None:
    def played(renderer: isc.Renderer) -> isc.rollout.Episode:
        state = isc.rollout.Rollout.start(renderer, [user([IMAGE])])
        for new in ([user([SAYS, IMAGE])], None):
            answer = (*next(iter(renderer.encoder.encode_batch(["A cat."]))), renderer.get_stop_token_ids()[0])
            state = state.after_completion(answer, [-1.0] * len(answer))
            state = state.after_messages(new) if new else state
        return state.finish()

    anew = structs.replace(vision, thinking_retention="tool_cycle")
    extended, rendered = played(vision), played(anew)
    assert (len(extended.rerenders), [one.reason for one in rendered.rerenders]) == (0, ["retention"])
    assert extended.rendered.token_ids == rendered.rendered.token_ids
    assert extended.rendered.multi_modal_data == rendered.rendered.multi_modal_data
    assert extended.rendered.multi_modal_data is not None
    assert extended.rendered.multi_modal_data.count("image") == 2
