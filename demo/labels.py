# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The words of the page, in English and Vietnamese. What models and other people say stays as it is."""

from typing import Any


ENGLISH, VIETNAMESE = "en", "vi"
LABELS: dict[str, dict[str, str]] = {
    # components
    "search": {ENGLISH: "Search", VIETNAMESE: "Tìm kiếm"},
    "ask": {ENGLISH: "Ask", VIETNAMESE: "Hỏi"},
    "moments": {ENGLISH: "Moments", VIETNAMESE: "Khoảnh khắc"},
    "classify": {ENGLISH: "Classify", VIETNAMESE: "Phân loại"},
    "explain": {ENGLISH: "Explain", VIETNAMESE: "Giải thích"},
    "cancel": {ENGLISH: "Cancel", VIETNAMESE: "Hủy"},
    "sentence": {ENGLISH: "What should be seen in the video?", VIETNAMESE: "Video cần có cảnh gì?"},
    "filters": {ENGLISH: "Filters", VIETNAMESE: "Bộ lọc"},
    "name": {ENGLISH: "File name contains", VIETNAMESE: "Tên tệp có chứa"},
    "shortest": {ENGLISH: "At least (seconds)", VIETNAMESE: "Dài ít nhất (giây)"},
    "longest": {ENGLISH: "At most (seconds)", VIETNAMESE: "Dài nhiều nhất (giây)"},
    "top_k": {ENGLISH: "Most results", VIETNAMESE: "Số kết quả tối đa"},
    "like": {ENGLISH: "Or a video: what is like it?", VIETNAMESE: "Hoặc một video: tìm video tương tự"},
    "video": {ENGLISH: "Video of the collection", VIETNAMESE: "Video trong bộ sưu tập"},
    "upload": {ENGLISH: "Or upload a video", VIETNAMESE: "Hoặc tải video lên"},
    "question": {ENGLISH: "Question", VIETNAMESE: "Câu hỏi"},
    "options": {ENGLISH: "Answers to choose from, one a line", VIETNAMESE: "Các đáp án để chọn, mỗi dòng một đáp án"},
    "moment": {ENGLISH: "What happens?", VIETNAMESE: "Điều gì xảy ra?"},
    # what the server says
    "no_search": {ENGLISH: "Type a sentence and press Enter.", VIETNAMESE: "Nhập một câu rồi nhấn Enter."},
    "working": {ENGLISH: "Working: {seconds:.0f} s", VIETNAMESE: "Đang xử lý: {seconds:.0f} giây"},
    "passes": {ENGLISH: ", {passes} passes of the model", VIETNAMESE: ", {passes} lượt chạy mô hình"},
    "cancelled": {ENGLISH: "Cancelled.", VIETNAMESE: "Đã hủy."},
    "wrong": {ENGLISH: "That did not work.", VIETNAMESE: "Không thực hiện được."},
    "failed": {
        ENGLISH: "Something went wrong on the server; its log says what.",
        VIETNAMESE: "Máy chủ gặp lỗi; chi tiết nằm trong nhật ký của máy chủ.",
    },
    "found": {ENGLISH: "{count} of {total} videos", VIETNAMESE: "{count} trong {total} video"},
    "stage": {
        ENGLISH: "{name}: {videos} videos, {milliseconds:.0f} ms",
        VIETNAMESE: "{name}: {videos} video, {milliseconds:.0f} ms",
    },
    "nothing_fits": {ENGLISH: "Nothing fits well.", VIETNAMESE: "Không có video nào thật sự phù hợp."},
    "nothing_why": {
        ENGLISH: "The best score is {best:.2f}, below {threshold:.2f}. These are the nearest:",
        VIETNAMESE: "Điểm cao nhất là {best:.2f}, thấp hơn {threshold:.2f}. Gần nhất là:",
    },
    "no_hit": {
        ENGLISH: "No video passes the filters.",
        VIETNAMESE: "Không có video nào qua được bộ lọc.",
    },
    "score": {ENGLISH: "score {score:.2f}", VIETNAMESE: "điểm {score:.2f}"},
    "lasts": {ENGLISH: "lasts {duration}", VIETNAMESE: "dài {duration}"},
    "play": {ENGLISH: "Play {video} from {start}", VIETNAMESE: "Phát {video} từ {start}"},
    "play_clip": {
        ENGLISH: "Play {start} to {end}, score {score:.2f}",
        VIETNAMESE: "Phát từ {start} đến {end}, điểm {score:.2f}",
    },
    "play_span": {ENGLISH: "Play {start} to {end}", VIETNAMESE: "Phát từ {start} đến {end}"},
    "timeline": {ENGLISH: "Clips of {video} in time", VIETNAMESE: "Các đoạn của {video} theo thời gian"},
    "frame": {ENGLISH: "{video} at {second}", VIETNAMESE: "{video} tại {second}"},
    "shown": {ENGLISH: "Video: nothing is played yet", VIETNAMESE: "Video: chưa phát"},
    "clips": {ENGLISH: "Clips that spoke for it", VIETNAMESE: "Các đoạn ủng hộ câu trả lời"},
    "frames": {ENGLISH: "Frames that were looked at", VIETNAMESE: "Các khung hình đã xem"},
    "curve": {
        ENGLISH: "How likely it is inside, over time: at most {share:.0%} at {second}",
        VIETNAMESE: "Khả năng nằm trong khoảnh khắc theo thời gian: cao nhất {share:.0%} tại {second}",
    },
    "why": {
        ENGLISH: "{label}: {kind} {score:.2f}; of clips in one colour {baseline:.2f}",
        VIETNAMESE: "{label}: {kind} {score:.2f}; khi mọi đoạn chỉ một màu {baseline:.2f}",
    },
    "picture_of_why": {
        ENGLISH: "What the score rests on: frames with their strongest places, words, clips, and how the score falls without them",
        VIETNAMESE: "Điểm số dựa vào đâu: khung hình với vị trí mạnh nhất, từ, đoạn, và điểm giảm ra sao khi thiếu chúng",
    },
    "deletion": {
        ENGLISH: "Without its strongest {name} the score falls {verdict} in random order.",
        VIETNAMESE: "Bỏ {name} mạnh nhất trước, điểm giảm {verdict} thứ tự ngẫu nhiên.",
    },
    "places": {ENGLISH: "places", VIETNAMESE: "vị trí"},
    "words": {ENGLISH: "words", VIETNAMESE: "từ"},
    "faster": {ENGLISH: "faster than", VIETNAMESE: "nhanh hơn"},
    "no_faster": {ENGLISH: "no faster than", VIETNAMESE: "không nhanh hơn"},
    "choose": {ENGLISH: "Choose a video, or upload one.", VIETNAMESE: "Hãy chọn hoặc tải lên một video."},
}


def language_of(header: str | None) -> str:
    """
    The language of a request, by its header `Accept-Language`.

    Example:
        >>> language_of("vi-VN,vi;q=0.9,en;q=0.8"), language_of("fr"), language_of(None)
        ('vi', 'en', 'en')
    """
    weighed = []
    for part in (header or "").split(","):
        name, _, weight = part.partition(";q=")
        language = name.strip().partition("-")[0].lower()
        if language in (ENGLISH, VIETNAMESE):
            try:
                weighed.append((float(weight or 1), language))
            except ValueError:
                continue
    return max(weighed, key=lambda pair: pair[0])[1] if weighed else ENGLISH


class Words:
    """
    The words of one language.

    Args:
        language (`str`): `"en"` or `"vi"`.
    """

    def __init__(self, language: str):
        self.language = language

    def __call__(self, name: str, /, **values: Any) -> str:
        return LABELS[name][self.language].format(**values)


__all__ = ["ENGLISH", "LABELS", "Words", "language_of"]
