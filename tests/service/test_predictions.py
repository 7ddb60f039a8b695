"""The service says what the model says, whichever way an image comes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from model_kit import Benchmarked
from PIL import Image
from service_kit import PREDICT, Service

from patchcore_ops.inspection.heat_map import heat_map
from patchcore_ops.model import Model, Prediction


@pytest.fixture(scope="module")
def predicted(single: Benchmarked, models: Path) -> list[Prediction]:
    return Model.load(models / "fabric_a").predict(single.images)


def test_one_image_is_answered_in_full(
    service: Service, single: Benchmarked, predicted: list[Prediction], models: Path
) -> None:
    answer = service.ask(f"{PREDICT}?name=a%20b", single.images[-1].read_bytes())
    one = predicted[-1]
    assert answer.status == 200
    assert answer.json == {
        "name": "a b",
        "category": "fabric_a",
        "model_version": Model.load(models / "fabric_a").description.sha256,
        "score": pytest.approx(one.score, rel=1e-6),
        "p_value": one.p_value,
        "is_anomaly": one.is_anomaly,
        "probability": pytest.approx(one.probability, rel=1e-6),
        "image_size": [one.crop.width, one.crop.height],
        "inspected": [0, 0, one.crop.width, one.crop.height],
        "regions": [
            {
                "box": list(region.box),
                "area": region.area,
                "peak": pytest.approx(region.peak, rel=1e-6),
                "peak_at": list(region.peak_at),
            }
            for region in one.regions
        ],
    }
    assert one.is_anomaly
    assert one.regions


def test_a_form_of_several_images_is_answered_in_order(
    service: Service, single: Benchmarked, predicted: list[Prediction]
) -> None:
    files = [(file.name, file.read_bytes()) for file in single.images[:3]]
    answer = service.post_form([files[0], ("notes.txt", b"words"), *files[1:]])
    assert answer.status == 200
    first, unreadable, second, third = answer.json["predictions"]
    assert [one["name"] for one in (first, second, third)] == [name for name, _ in files]
    found = [one["score"] for one in (first, second, third)]
    np.testing.assert_allclose(found, [one.score for one in predicted[:3]], rtol=1e-5)
    assert unreadable["detail"].startswith("notes.txt: is none of PNG, JPEG, BMP, TIFF and WebP")


def test_a_form_of_one_image_is_answered_as_one(
    service: Service, single: Benchmarked, predicted: list[Prediction]
) -> None:
    answer = service.post_form([("one.png", single.images[0].read_bytes())])
    assert answer.json["name"] == "one.png"
    assert answer.json["score"] == pytest.approx(predicted[0].score, rel=1e-5)


def test_a_heat_map_comes_as_picture_of_the_crop(
    service: Service, single: Benchmarked, predicted: list[Prediction]
) -> None:
    answer = service.ask(PREDICT, single.images[0].read_bytes(), {"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(answer.body))), heat_map(predicted[0])
    )


def test_a_heat_map_comes_as_layer_for_the_image(service: Service, models: Path) -> None:
    """A wide image: what lies beside the square that the network saw is transparent."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (100, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    answer = service.ask(f"{PREDICT}?heat_map=true", stream.getvalue()).json
    layer = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["heat_map"]))))
    assert layer.shape == (100, 300, 4)
    left, top, right, bottom = answer["inspected"]
    assert (left, top, right, bottom) == (100, 0, 200, 100)
    expected = np.zeros((100, 300), dtype=np.uint8)
    expected[top:bottom, left:right] = 255
    np.testing.assert_array_equal(layer[..., 3], expected)


def test_a_picture_of_several_images_is_refused(service: Service, single: Benchmarked) -> None:
    content = single.images[0].read_bytes()
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="i"; filename="a"\r\n\r\n' + content + b"\r\n"
        for _ in range(2)
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Accept": "image/png"}
    answer = service.ask(PREDICT, body + b"--x--\r\n", headers)
    assert (answer.status, answer.detail) == (
        406,
        "a PNG shows one image; send one, or accept application/json",
    )


def test_models_are_listed_with_their_thresholds(service: Service, models: Path) -> None:
    description = Model.load(models / "fabric_a").description
    calibration = description.calibration
    assert calibration is not None
    [model] = service.ask("/v1/models").json["models"]
    assert model["version"] == description.sha256
    assert model["image_threshold"] == calibration.image_threshold
    assert model["false_positive_rate"] == 0.01
    assert model["image_size"] == 64
    details = service.ask("/v1/models/fabric_a").json
    assert details["normal_scores"] == list(calibration.normal_scores)


def test_an_unknown_category_is_answered_with_those_there_are(service: Service) -> None:
    answer = service.ask(f"/v1/models/{quote('<b>ü')}/predict", b"x")
    assert (answer.status, answer.detail) == (
        404,
        "there is no model of '<b>ü'; there are: fabric_a",
    )


def test_metrics_count_requests_images_and_scores(service: Service, single: Benchmarked) -> None:
    def metrics() -> dict[str, float]:
        lines = service.ask("/metrics").body.decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    before = metrics()
    service.ask(PREDICT, single.images[-1].read_bytes())
    service.ask(PREDICT, b"no image")
    service.ask("/nowhere")
    after = metrics()

    def gained(name: str) -> float:
        return after[name] - before.get(name, 0)

    route = 'route="/v1/models/{category}/predict"'
    assert gained(f'patchcore_requests_total{{{route},status="200"}}') == 1
    assert gained(f'patchcore_requests_total{{{route},status="422"}}') == 1
    assert gained('patchcore_requests_total{route="other",status="404"}') == 1
    assert gained(f"patchcore_request_seconds_count{{{route}}}") == 2
    assert gained('patchcore_images_total{category="fabric_a",verdict="anomalous"}') == 1
    assert gained('patchcore_images_total{category="fabric_a",verdict="unreadable"}') == 1
    assert gained('patchcore_score_count{category="fabric_a"}') == 1
    assert gained('patchcore_p_value_bucket{category="fabric_a",le="1.0"}') == 1
    assert after["patchcore_queue_images"] == 0


def test_the_interface_is_described_without_foreign_pages(service: Service) -> None:
    schema = service.ask("/openapi.json").json
    body = schema["paths"]["/v1/models/{category}/predict"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/octet-stream", "multipart/form-data"}
    page = service.ask("/docs").body.decode()
    assert "POST /v1/models/{category}/predict" in page
    assert "http://" not in page
    assert "https://" not in page
