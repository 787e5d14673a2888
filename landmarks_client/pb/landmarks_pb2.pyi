from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DetectRequest(_message.Message):
    __slots__ = ("image", "boxes", "topk", "max_faces", "detector_threshold", "model", "decoder", "flip", "omit", "min_score", "refine", "pixel_aspect", "min_face")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    TOPK_FIELD_NUMBER: _ClassVar[int]
    MAX_FACES_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DECODER_FIELD_NUMBER: _ClassVar[int]
    FLIP_FIELD_NUMBER: _ClassVar[int]
    OMIT_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    REFINE_FIELD_NUMBER: _ClassVar[int]
    PIXEL_ASPECT_FIELD_NUMBER: _ClassVar[int]
    MIN_FACE_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    boxes: _containers.RepeatedCompositeFieldContainer[Box]
    topk: int
    max_faces: int
    detector_threshold: float
    model: str
    decoder: str
    flip: bool
    omit: _containers.RepeatedScalarFieldContainer[str]
    min_score: float
    refine: str
    pixel_aspect: float
    min_face: float
    def __init__(self, image: _Optional[bytes] = ..., boxes: _Optional[_Iterable[_Union[Box, _Mapping]]] = ..., topk: _Optional[int] = ..., max_faces: _Optional[int] = ..., detector_threshold: _Optional[float] = ..., model: _Optional[str] = ..., decoder: _Optional[str] = ..., flip: bool = ..., omit: _Optional[_Iterable[str]] = ..., min_score: _Optional[float] = ..., refine: _Optional[str] = ..., pixel_aspect: _Optional[float] = ..., min_face: _Optional[float] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x1", "y1", "x2", "y2")
    X1_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    X2_FIELD_NUMBER: _ClassVar[int]
    Y2_FIELD_NUMBER: _ClassVar[int]
    x1: float
    y1: float
    x2: float
    y2: float
    def __init__(self, x1: _Optional[float] = ..., y1: _Optional[float] = ..., x2: _Optional[float] = ..., y2: _Optional[float] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("request_id", "model", "image", "faces", "timings_ms", "warnings")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_MS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: Model
    image: Image
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    timings_ms: Timings
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[Model, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., timings_ms: _Optional[_Union[Timings, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class DetectBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[DetectRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[DetectRequest, _Mapping]]] = ...) -> None: ...

class DetectBatchResponse(_message.Message):
    __slots__ = ("request_id", "results")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    results: _containers.RepeatedCompositeFieldContainer[DetectResult]
    def __init__(self, request_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[DetectResult, _Mapping]]] = ...) -> None: ...

class DetectResult(_message.Message):
    __slots__ = ("answer", "problem")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    answer: DetectResponse
    problem: Problem
    def __init__(self, answer: _Optional[_Union[DetectResponse, _Mapping]] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("type", "title", "status", "detail", "code", "action", "request_id")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    type: str
    title: str
    status: int
    detail: str
    code: str
    action: str
    request_id: str
    def __init__(self, type: _Optional[str] = ..., title: _Optional[str] = ..., status: _Optional[int] = ..., detail: _Optional[str] = ..., code: _Optional[str] = ..., action: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TrackRequest(_message.Message):
    __slots__ = ("options", "frame")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    options: TrackOptions
    frame: TrackFrame
    def __init__(self, options: _Optional[_Union[TrackOptions, _Mapping]] = ..., frame: _Optional[_Union[TrackFrame, _Mapping]] = ...) -> None: ...

class TrackOptions(_message.Message):
    __slots__ = ("detect", "rate", "resume")
    DETECT_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    detect: DetectRequest
    rate: float
    resume: TrackState
    def __init__(self, detect: _Optional[_Union[DetectRequest, _Mapping]] = ..., rate: _Optional[float] = ..., resume: _Optional[_Union[TrackState, _Mapping]] = ...) -> None: ...

class TrackFrame(_message.Message):
    __slots__ = ("number", "image", "raw")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    number: int
    image: bytes
    raw: RawImage
    def __init__(self, number: _Optional[int] = ..., image: _Optional[bytes] = ..., raw: _Optional[_Union[RawImage, _Mapping]] = ...) -> None: ...

class RawImage(_message.Message):
    __slots__ = ("width", "height", "channels", "type", "stride", "colour_space", "samples", "planar")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    COLOUR_SPACE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    PLANAR_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    channels: int
    type: str
    stride: int
    colour_space: str
    samples: bytes
    planar: bool
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., channels: _Optional[int] = ..., type: _Optional[str] = ..., stride: _Optional[int] = ..., colour_space: _Optional[str] = ..., samples: _Optional[bytes] = ..., planar: bool = ...) -> None: ...

class TrackResponse(_message.Message):
    __slots__ = ("frame", "missing", "cut", "answer", "problem", "faces", "state")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    frame: int
    missing: int
    cut: bool
    answer: DetectResponse
    problem: Problem
    faces: _containers.RepeatedCompositeFieldContainer[TrackedFace]
    state: TrackState
    def __init__(self, frame: _Optional[int] = ..., missing: _Optional[int] = ..., cut: bool = ..., answer: _Optional[_Union[DetectResponse, _Mapping]] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ..., faces: _Optional[_Iterable[_Union[TrackedFace, _Mapping]]] = ..., state: _Optional[_Union[TrackState, _Mapping]] = ...) -> None: ...

class TrackedFace(_message.Message):
    __slots__ = ("id", "gap", "smoothed")
    ID_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    SMOOTHED_FIELD_NUMBER: _ClassVar[int]
    id: int
    gap: int
    smoothed: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, id: _Optional[int] = ..., gap: _Optional[int] = ..., smoothed: _Optional[_Iterable[float]] = ...) -> None: ...

class TrackState(_message.Message):
    __slots__ = ("frame", "next_id", "glance", "faces")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    NEXT_ID_FIELD_NUMBER: _ClassVar[int]
    GLANCE_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    frame: int
    next_id: int
    glance: bytes
    faces: _containers.RepeatedCompositeFieldContainer[KnownFace]
    def __init__(self, frame: _Optional[int] = ..., next_id: _Optional[int] = ..., glance: _Optional[bytes] = ..., faces: _Optional[_Iterable[_Union[KnownFace, _Mapping]]] = ...) -> None: ...

class KnownFace(_message.Message):
    __slots__ = ("id", "frame", "box", "points", "smoothed", "velocities")
    ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    SMOOTHED_FIELD_NUMBER: _ClassVar[int]
    VELOCITIES_FIELD_NUMBER: _ClassVar[int]
    id: int
    frame: int
    box: _containers.RepeatedScalarFieldContainer[float]
    points: _containers.RepeatedScalarFieldContainer[float]
    smoothed: _containers.RepeatedScalarFieldContainer[float]
    velocities: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, id: _Optional[int] = ..., frame: _Optional[int] = ..., box: _Optional[_Iterable[float]] = ..., points: _Optional[_Iterable[float]] = ..., smoothed: _Optional[_Iterable[float]] = ..., velocities: _Optional[_Iterable[float]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelDescription]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelDescription, _Mapping]]] = ...) -> None: ...

class ModelDescription(_message.Message):
    __slots__ = ("name", "version", "provenance", "layout", "input_size", "crop_scale", "topk", "decoders", "run_id", "data", "degrees_of_freedom", "input_width", "input_height")
    class DegreesOfFreedomEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    INPUT_SIZE_FIELD_NUMBER: _ClassVar[int]
    CROP_SCALE_FIELD_NUMBER: _ClassVar[int]
    TOPK_FIELD_NUMBER: _ClassVar[int]
    DECODERS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DEGREES_OF_FREEDOM_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    provenance: str
    layout: str
    input_size: int
    crop_scale: float
    topk: int
    decoders: _containers.RepeatedScalarFieldContainer[str]
    run_id: str
    data: _containers.RepeatedScalarFieldContainer[str]
    degrees_of_freedom: _containers.ScalarMap[str, float]
    input_width: int
    input_height: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., provenance: _Optional[str] = ..., layout: _Optional[str] = ..., input_size: _Optional[int] = ..., crop_scale: _Optional[float] = ..., topk: _Optional[int] = ..., decoders: _Optional[_Iterable[str]] = ..., run_id: _Optional[str] = ..., data: _Optional[_Iterable[str]] = ..., degrees_of_freedom: _Optional[_Mapping[str, float]] = ..., input_width: _Optional[int] = ..., input_height: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "provenance")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    provenance: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., provenance: _Optional[str] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("width", "height")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("box", "box_source", "box_score", "score", "inter_ocular", "points", "scores", "covariances", "passes", "visibility")
    BOX_FIELD_NUMBER: _ClassVar[int]
    BOX_SOURCE_FIELD_NUMBER: _ClassVar[int]
    BOX_SCORE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    INTER_OCULAR_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    COVARIANCES_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_FIELD_NUMBER: _ClassVar[int]
    box: _containers.RepeatedScalarFieldContainer[float]
    box_source: str
    box_score: float
    score: float
    inter_ocular: float
    points: _containers.RepeatedScalarFieldContainer[float]
    scores: _containers.RepeatedScalarFieldContainer[float]
    covariances: _containers.RepeatedScalarFieldContainer[float]
    passes: int
    visibility: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, box: _Optional[_Iterable[float]] = ..., box_source: _Optional[str] = ..., box_score: _Optional[float] = ..., score: _Optional[float] = ..., inter_ocular: _Optional[float] = ..., points: _Optional[_Iterable[float]] = ..., scores: _Optional[_Iterable[float]] = ..., covariances: _Optional[_Iterable[float]] = ..., passes: _Optional[int] = ..., visibility: _Optional[_Iterable[float]] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("decode", "detect", "crop", "infer", "total")
    DECODE_FIELD_NUMBER: _ClassVar[int]
    DETECT_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    INFER_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    decode: float
    detect: float
    crop: float
    infer: float
    total: float
    def __init__(self, decode: _Optional[float] = ..., detect: _Optional[float] = ..., crop: _Optional[float] = ..., infer: _Optional[float] = ..., total: _Optional[float] = ...) -> None: ...
