# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Where the files of each benchmark come from, under which names the loaders expect them, and on what terms.

An address that carries a commit and a checksum always gives the same bytes. The others are those that the projects
name; only their length can be verified. Hosts that ask for a click, a password or an account stand in `instructions`
and are never contacted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A file of a benchmark, or what has to be placed by hand.

    Args:
        file (`str`): Its path below `data_dir`; for things placed by hand also several, or a folder.
        urls (`tuple[str, ...]`): Addresses of the same bytes, best first; none for what is placed by hand.
        kind (`str`, defaults to `"annotations"`): `"annotations"`, or `"videos"` (images too), fetched when asked.
        sha256 (`str`, *optional*): Its checksum.
        size (`int`, *optional*): Its bytes.
        unpack (`str`, *optional*): Folder below `data_dir` that the archive is unpacked into; `"."` is `data_dir`.
        status (`str`, defaults to `"public"`): `"gated"` needs an agreement or an account, `"dead"` is gone from its
            official address.
        instructions (`str`): What to do by hand.
    """

    file: str
    urls: tuple[str, ...] = ()
    kind: str = "annotations"
    sha256: str | None = None
    size: int | None = None
    unpack: str | None = None
    status: str = "public"
    instructions: str = ""

    def __post_init__(self):
        if self.kind not in ("annotations", "videos") or self.status not in ("public", "gated", "dead"):
            raise ValueError(f"Unknown kind {self.kind!r} or status {self.status!r} of {self.file}")
        if not self.urls and not self.instructions:
            raise ValueError(f"Expected {self.file} to have addresses, or instructions in place of them")
        if self.urls and self.status != "public":
            raise ValueError(f"Expected no addresses for {self.file}, which is {self.status}")


def github(
    repository: str,
    folder: str,
    files: Mapping[str, tuple[int | None, str | None]],
    into: str = "",
    original: Mapping[str, str] | None = None,
) -> list[Source]:
    """Files of a repository at a commit: name -> bytes and sha256. `original` names those that we call otherwise."""
    base, prefix = f"https://raw.githubusercontent.com/{repository}/{folder}", f"{into}/" if into else ""
    original = original or {}
    return [
        Source(f"{prefix}{name}", (f"{base}/{original.get(name, name)}",), sha256=sha256, size=size)
        for name, (size, sha256) in files.items()
    ]


def by_hand(file: str, instructions: str, kind: str = "videos", status: str = "public") -> Source:
    return Source(file, kind=kind, status=status, instructions=instructions)


def coco_images(*names: str) -> list[Source]:
    host = "http://images.cocodataset.org/zips"
    return [Source(f"{name}.zip", (f"{host}/{name}.zip",), kind="videos", unpack="images") for name in names]


def hmdb51_splits() -> dict[str, tuple[None, str]]:
    """The 153 split files with their checksums, from a list in the format of `sha256sum`."""
    lines = (Path(__file__).parents[1] / "loaders" / "hmdb51_splits.sha256").read_text(encoding="utf-8").splitlines()
    return {name: (None, sha256) for sha256, name in (line.split("  ") for line in lines)}


ACTIVITYNET = "activitynet/ActivityNet/82304fa9f4a7219421df13dae6347a445c4cf5bc"
COLLABORATIVE_EXPERTS = "albanie/collaborative-experts/7eb3b9d362ee313a78cd0a2793c3b6470f8e78f3"
HQGA = "doc-doc/HQGA/f655c8a624fd5d0d21551b744f2589c905ea4cbd"
MMACTION2 = "open-mmlab/mmaction2/4d6c93474730cad2f25e51109adcf96824efc7a3"
TSN = "yjxiong/temporal-segment-networks/2c5e5e7c9c4f552cfde46fa90a4c0c230d857afe"
VIDEOX = "microsoft/VideoX/1744b2159c3d11694f94dab4fcde8660c685e79a"
VISUAL_GENOME = "https://homes.cs.washington.edu/~ranjay/visualgenome/data/dataset"
VQA = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"
VSLNET = "26hzhang/VSLNet/3793c625f2e251a5f19a0d59f0c83b12e386f808"

LICENCES = {
    "activitynet_captions": "Annotations: research use (repository of the copy: MIT). Videos: YouTube's terms.",
    "ava": "Annotations: CC BY 4.0 (Google). Videos: YouTube's terms.",
    "charades_sta": "Charades: non-commercial use (Allen Institute for AI). Charades-STA: research use.",
    "coco_captions": "Captions: CC BY 4.0. Images: Flickr's terms, a licence for each image.",
    "didemo": "Annotations: BSD 2-Clause. Videos: Creative Commons, many NC, ND or SA; see video_licenses.txt.",
    "hmdb51": "CC BY 4.0 (Serre Lab); clips of films and YouTube. Copy of the splits: BSD 2-Clause.",
    "howto100m": "Captions: no licence is stated. Videos: YouTube's terms, research use after a form.",
    "kinetics400": "Annotations: CC BY 4.0 (Google). Videos: YouTube's terms.",
    "lsmdc": "An agreement with MPII, for academic use; neither sentences nor videos may be passed on.",
    "msrvtt": "Annotations and videos: (c) Microsoft, research use (repository of the copy: MIT). Videos: YouTube.",
    "msrvtt_qa": "Questions: research use (repository of the copy: MIT). Videos: see msrvtt.",
    "msvd": "Descriptions and clips: research use (Microsoft Research). Clips: YouTube's terms.",
    "msvd_qa": "Questions: no licence is stated, research use. Videos: see msvd.",
    "qvhighlights": "Annotations: CC BY-NC-SA 4.0. Videos: YouTube's terms.",
    "ssv2": "Qualcomm's terms of the 20BN data sets, for research; an account and a licence are needed.",
    "tgif_qa": "Questions: academic use only. GIFs (TGIF): approved non-commercial research; Tumblr.",
    "ucf101": "No licence is stated; clips of YouTube. Copy of the splits: BSD 2-Clause.",
    "vatex": "Captions: CC BY 4.0. Videos: YouTube's terms.",
    "visual_genome": "Annotations: CC BY 4.0. Images: Flickr's terms and those of COCO.",
    "vqa2": "Questions and answers: CC BY 4.0. Images: see coco_captions.",
    "webvid": "Non-commercial research; withdrawn by its authors, the videos belong to their makers (Shutterstock).",
}

SOURCES: dict[str, tuple[Source, ...]] = {
    "activitynet_captions": (
        *github(
            VSLNET,
            "data/dataset/activitynet",
            {
                "train.json": (4_041_275, "7e887dd0fc85bd173358caf2c1e9adb6f79a8aa28d129ada22d89e7c6b23d49d"),
                "val_1.json": (1_910_765, "66834fea850b62fd69ec8c23295abae82f6a26518d0353ddd59d98778dbadb0a"),
                "val_2.json": (1_727_033, "37df50829c22e913b369af18c0bfb82277257f037082df3781d4dfc20c35f80d"),
            },
        ),
        by_hand(
            "videos/v_<YouTube id>.mp4",
            "Ask for the videos with the form on http://activity-net.org/download.html (the answer is a link for "
            "seven days), or fetch the YouTube ids that are left. Any container will do.",
            status="gated",
        ),
    ),
    "ava": (
        *(
            Source(
                f"ava_{version}.zip",
                (
                    f"https://research.google.com/ava/download/ava_{version}.zip",
                    f"https://s3.amazonaws.com/ava-dataset/annotations/ava_{version}.zip",
                ),
                unpack=".",
            )
            for version in ("v2.2", "v2.1")
        ),
        *github(
            MMACTION2,
            "tools/data/ava",
            {
                "label_map.txt": (1_209, "c3f747abd4b89e7cfc826986fa33e572aa953860082a2c535dc1d333425cd9ab"),
            },
        ),
        *github(
            ACTIVITYNET,
            "Evaluation/ava",
            {
                "ava_action_list_v2.1_for_activitynet_2018.pbtxt.txt": (
                    2_649,
                    "6759290ef3cb5b0339291f2e9dc8994ce74277123f75911fc30d53e30baa5e28",
                ),
            },
        ),
        by_hand(
            "videos/<video id>.mp4, .mkv or .webm",
            "Fetch https://s3.amazonaws.com/ava-dataset/annotations/ava_file_names_trainval_v2.1.txt and for each name "
            "in it https://s3.amazonaws.com/ava-dataset/trainval/<name> (299 films, about 150 GB).",
        ),
    ),
    "charades_sta": (
        *github(
            VSLNET,
            "data/dataset/charades",
            {
                "charades_sta_train.txt": (
                    622_487,
                    "e966fc1970cf6bc4cc73db2dd4fc10e148313810a372eef488defb0dd2ee359f",
                ),
                "charades_sta_test.txt": (186_686, "fab341679c20b0917173dcffffde367a71113fe63f3a645558cef2ebfbfefb55"),
            },
        ),
        *github(
            VIDEOX,
            "2D-TAN/data/Charades-STA",
            {
                "charades_sta_train.videox.txt": (
                    622_491,
                    "47ec9b6b488fca753373d9cc29b07a959f7237a922cb29463cd088cd6198e805",
                ),
            },
            original={"charades_sta_train.videox.txt": "charades_sta_train.txt"},
        ),
        *github(
            VIDEOX,
            "2D-TAN/data/Charades-STA",
            {
                "Charades_v1_train.csv": (
                    3_622_045,
                    "59273c6dc2139ec7eb95b980fd26bc8529774b1ede0602f6ca90b546ed12f0fc",
                ),
                "Charades_v1_test.csv": (
                    1_173_833,
                    "8b8b207b55fb95b949018027f69d83bd46cd844d15834f8f592ee8e7446173eb",
                ),
            },
        ),
        Source(
            "Charades_v1_480.zip",
            ("https://ai2-public-datasets.s3-us-west-2.amazonaws.com/charades/Charades_v1_480.zip",),
            kind="videos",
            unpack="videos",
        ),
    ),
    "coco_captions": (
        Source(
            "annotations_trainval2014.zip",
            ("http://images.cocodataset.org/annotations/annotations_trainval2014.zip",),
        ),
        Source(
            "caption_datasets.zip",
            ("https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",),
        ),
        *coco_images("train2014", "val2014"),
    ),
    "didemo": (
        *github(
            "LisaAnne/LocalizingMoments/b6a555c8134581305d0ed4716fbc192860e0b88c",
            "data",
            {
                "train_data.json": (None, None),
                "val_data.json": (1_111_448, "b0364cc256553332feb19d46bcc4cd2b09774949fe6c0b25e7ed0ff3c6aefebb"),
                "test_data.json": (1_068_934, "1891c04ec48b3d364c739594b2b6413806b74bd9027c092d896e7ebb930ff1cd"),
                "yfcc100m_hash.txt": (450_463, "481d9aaf020624d5915200bcf4752fb46d3e1931167e8b46715a5f342577cc4d"),
                "video_licenses.txt": (1_396_435, "a6b2efc4b071e6c5474f98bd1f23ebcfcd880530ba35a12dcac8070f96a6e2d4"),
            },
        ),
        Source(
            "didemo_videos.tar.gz",
            (
                "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/datasets/didemo/didemo_videos.tar.gz",
            ),
            kind="videos",
            unpack="videos",
        ),
        by_hand(
            "videos/<name in the annotation>.mp4",
            "If didemo_videos.tar.gz cannot be had: yfcc100m_hash.txt gives the path of each Flickr id below "
            "https://multimedia-commons.s3-us-west-2.amazonaws.com/data/videos/mp4/ (13 videos were never there). Any "
            "container will do.",
        ),
    ),
    "hmdb51": (
        *github(
            TSN,
            "data/hmdb51_splits",
            {
                "class_list.txt": (388, "15f768e8ab1271dcd74471cbe95d0ba5d1e62a22f01ee6af25b2a5f938dcd867"),
            },
        ),
        *github(
            MMACTION2,
            "tools/data/hmdb51",
            {
                "label_map.txt": (377, "c24c56a7af6f3ea55c8fb2a8e5b2c3a42644fcc5d86e49313536cfbd3499538a"),
            },
        ),
        *github(TSN, "data/hmdb51_splits", hmdb51_splits(), into="splits"),
        by_hand(
            "videos/<class>/<clip>.avi",
            "The official hmdb51_org.rar (one rar for each class inside) is gone. A copy as zip: "
            "https://huggingface.co/datasets/MichiganNLP/hmdb",
            status="dead",
        ),
    ),
    "howto100m": (
        by_hand(
            "caption.json, raw_caption.json, raw_caption_superclean.json, howto100m_captions/<video id>.csv or *.tar",
            "Captions: https://www.rocq.inria.fr/cluster-willow/amiech/howto100m/howto100m_captions.zip. Videos "
            "(12 TB): after the form on https://www.di.ens.fr/willow/research/howto100m/. Cut them into shards of your own.",
            kind="annotations",
            status="gated",
        ),
    ),
    "kinetics400": (
        *github(
            ACTIVITYNET,
            "Crawler/Kinetics/data",
            {
                "kinetics-400_train.csv": (None, None),
                "kinetics-400_val.csv": (810_935, "358eaf47e7f80ebf9b17d49eb0635ad5e0fdab98a9cbd75ffdd2ee5d5e5b6944"),
                "kinetics-400_test.csv": (897_655, "0b44427a620e5b2157c412ea4b7bac3f843582367377b33a8b0daa3f9de861c0"),
            },
        ),
        *github(
            MMACTION2,
            "tools/data/kinetics",
            {
                "label_map_k400.txt": (5_956, "e9f2806fe9109b851a80a74841244f6f8c9d10917fa0229cd82bab67f2f8e28f"),
            },
        ),
        by_hand(
            "videos/<YouTube id>_<start>_<end>.mp4",
            "Fetch the tar files that https://s3.amazonaws.com/kinetics/400/{train,val,test}/k400_{train,val,test}_path.txt "
            "list (about 450 GB) and unpack them. Start and end have six digits, as in 0wR5jVB-WPk_000417_000427.mp4.",
        ),
    ),
    "lsmdc": (
        by_hand(
            "LSMDC16_annos_training.csv, LSMDC16_annos_val.csv, LSMDC16_challenge_1000_publictect.csv",
            "Ask for user name and password with the form on https://sites.google.com/site/describingmovies/download",
            kind="annotations",
            status="gated",
        ),
        by_hand("videos/<film>/<clip id>.avi", "Under the same user name and password.", status="gated"),
    ),
    "msrvtt": (
        *github(
            "WingsBrokenAngel/MSR-VTT-DataCleaning/f74c5712809535df60db5c56c3e81efb44f81d89",
            "clean_process",
            {
                "train_val_annotation.zip": (
                    2_594_639,
                    "ce2d97dd82d03e018c6f9ee69c96eb784397d1c83f734fdb8c17aafa5e27da31",
                ),
                "test_videodatainfo.json.zip": (
                    1_105_940,
                    "0871bbe19dc9c13edeef4af5d7be39600a2e2b7d967e0206bb5911d633af24a0",
                ),
            },
        ),
        *github(
            "foolwood/DRL/475f96ce612b121b7f16937d384f2d1b7411fa80",
            "data/MSR-VTT/anns",
            {
                "MSRVTT_JSFUSION_test.csv": (
                    74_475,
                    "e61144b312c8a2fc2126f96504c981f8c23c05b3ba9655a56e2af50ac8a4b16a",
                ),
                "MSRVTT_train.9k.csv": (88_899, "0a7ece2418e1f7ac5680555a04ddfef8950293ac3c4bdd6584fb0fa6cc0ff7d3"),
            },
        ),
        *github(
            COLLABORATIVE_EXPERTS,
            "misc/datasets/msrvtt",
            {
                "train_list_miech.txt": (65_808, "bd1b91cc6e07ace29fd12c2be74b69031f647567bb647c73b8dd8a28e1455b80"),
                "test_list_miech.txt": (9_886, "e2b489732475874bb32dd2689bd3a1e13a8473a9bf69a6b97efb8f39a1c12d1e"),
            },
            into="split_lists",
        ),
        by_hand(
            "msrvtt_retrieval_mc_test.jsonl",
            "The multiple-choice test is part of ClipBERT's storage, which is closed; place the file if you hold it.",
            kind="annotations",
            status="dead",
        ),
        Source(
            "MSRVTT.zip",
            ("https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip",),
            kind="videos",
            unpack="videos",
        ),
    ),
    "msrvtt_qa": (
        *github(
            HQGA,
            "dataset/msrvtt",
            {
                "train.csv": (None, None),
                "val.csv": (701_090, "ec530cdfe39a7307c1772bf846517f3700d0dbf18e2eeecb19ae118db7726ac6"),
                "test.csv": (4_180_859, "e19316619b3c45880f18ad36f12ca39bc46be0cbabc6c323da0121b288b5d758"),
            },
        ),
        *github(
            HQGA,
            "dataset/msrvtt",
            {"ans_word_4000.json": (57_098, "35d2bba37dacb1697ccc1c0a2e563d029427ff3ff514967f7d8c133321f2c498")},
            original={"ans_word_4000.json": "ans_word.json"},
        ),
        by_hand(
            "videos/video<N>.mp4",
            "The videos of msrvtt: fetch those, and give their folder as `video_dir`.",
        ),
    ),
    "msvd": (
        Source(
            "AllVideoDescriptions.txt",
            ("https://www.cs.utexas.edu/users/ml/clamp/videoDescription/AllVideoDescriptions.txt",),
        ),
        Source(
            "msvd_data.zip",
            ("https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0/msvd_data.zip",),
            unpack=".",
        ),
        Source(
            "YouTubeClips.tar",
            ("https://www.cs.utexas.edu/users/ml/clamp/videoDescription/YouTubeClips.tar",),
            kind="videos",
            unpack="videos",
        ),
    ),
    "msvd_qa": (
        by_hand(
            "train_qa.json, val_qa.json, test_qa.json and youtube_mapping.txt",
            "They are in the archive that https://github.com/xudejing/video-question-answering names, on Google Drive.",
            kind="annotations",
        ),
        by_hand(
            "videos/<clip>.avi",
            "The videos of msvd: fetch those, and give their folder as `video_dir`.",
        ),
    ),
    "qvhighlights": (
        *github(
            "jayleicn/moment_detr/1112fe94452c4b2f050e4fd08bbbf55c9c18055f",
            "data",
            {f"highlight_{split}_release.jsonl": (None, None) for split in ("train", "val", "test")},
        ),
        Source(
            "qvhilights_videos.tar.gz",
            ("https://nlp.cs.unc.edu/data/jielei/qvh/qvhilights_videos.tar.gz",),
            kind="videos",
            unpack="videos",
        ),
    ),
    "ssv2": (
        *github(
            MMACTION2,
            "tools/data/sthv2",
            {
                "label_map.txt": (7_601, "c9c5a86ece619e1ab2e7ca0614c85377a534873e17108b13243e5d22089a0a85"),
            },
        ),
        by_hand(
            "train.json, validation.json, test.json, labels.json",
            "Make an account and accept the licence on "
            "https://developer.qualcomm.com/software/ai-datasets/something-something; the files are in the folder "
            "labels. For the retrieval configs: anno_downstream.tar.gz of https://github.com/jayleicn/singularity.",
            kind="annotations",
            status="gated",
        ),
        by_hand(
            "videos/<id>.webm",
            "The parts 20bn-something-something-v2-?? from the same page, joined and unpacked.",
            status="gated",
        ),
    ),
    "tgif_qa": (
        *github(
            "YunseokJANG/tgif-qa/9ecbbc7cb3d08300ddb6662b3dfd651914f3183f",
            "dataset",
            {
                "Train_action_question.csv": (
                    2_926_933,
                    "72ad4bb43639936dc918babe64ba71c93dc1cfe8f44683798461b682fc542bb0",
                ),
                "Test_action_question.csv": (
                    327_773,
                    "d5f023e0455225e882c46cf3c6b1248ec8d0e064204f4a78280129582a1f8aef",
                ),
                "Train_transition_question.csv": (None, None),
                "Test_transition_question.csv": (
                    1_003_560,
                    "9dc0554dca97776ed04acfe55d65913b6dd9096d083fd3a4981751f863edcb6a",
                ),
                "Train_frameqa_question.csv": (None, None),
                "Test_frameqa_question.csv": (
                    2_169_590,
                    "b7998e8ca0e06ba3f94b65ebda94c6fa1a8b8ba27226903ca53d413d2dfa40cd",
                ),
                "Train_count_question.csv": (
                    2_557_769,
                    "4f5aeab06524dd79f7b8b3f49c3458cd8471c4be52aebb5821c2df78f3eb9d38",
                ),
                "Test_count_question.csv": (
                    342_784,
                    "26bc6f83aa391b15e5a21b15cdb0786f0e9109dd081ea5a7e4ac656cc8168d27",
                ),
            },
        ),
        *github(
            HQGA,
            "dataset/tgifqa/frameqa",
            {
                "frameqa_train_hqga.csv": (
                    2_957_270,
                    "8b24e0a2f8853fc4c0fbf5b1915eec9c32226a62114f573766f8814f8f38b07b",
                ),
                "frameqa_test_hqga.csv": (None, None),
            },
            original={"frameqa_train_hqga.csv": "train.csv", "frameqa_test_hqga.csv": "test.csv"},
        ),
        by_hand(
            "gifs/<gif_name>.gif",
            "Fetch the addresses of data/tgif-v1.0.tsv in https://github.com/raingo/TGIF-Release (about 120 GB; the stem "
            "of the address is the gif_name; some now give a still picture), or ask the authors of "
            "https://github.com/YunseokJANG/tgif-qa for their copies on Google Drive and Dropbox.",
            status="gated",
        ),
    ),
    "ucf101": (
        *github(
            TSN,
            "data/ucf101_splits",
            {
                "classInd.txt": (1_586, "d7abbb76074d04e80c62ad8a61529bb8eec32ef978569601b2890edec3af0359"),
                "trainlist01.txt": (395_164, "f7a4d7abc05147b921c17fc227d731197c3583f29945d1f1d46bce830d1b9f12"),
                "trainlist02.txt": (397_610, "3ea7145317098bdb4a999f69fb3b53ca3d3831d692602fc5dc8cd5c5e3eb8ca9"),
                "trainlist03.txt": (398_805, "c75af0148b3b0e70d5d881ad71b0a5fbb685bf2d3278908278658435c3f1bf0f"),
                "testlist01.txt": (145_735, "81be4765084d72739dca4d11658f7ec369c441ad9e227f11d9468fe2a1c14890"),
                "testlist02.txt": (143_430, "c9eec18f3f312153cda441f93e30bc9cffef1941367ebc06996e40c9cd056c91"),
                "testlist03.txt": (142_360, "f9cc029b0598c63f5cc07d070ae1fa4666d1d3901cc79a93490ea0742ca097db"),
            },
        ),
        Source(
            "UCF101.rar",
            ("https://www.crcv.ucf.edu/datasets/human-actions/ucf101/UCF101.rar",),
            kind="videos",
            instructions="Unpack it with `unrar x UCF101.rar` in this folder (rar is not read here): it makes UCF-101. "
            "With the clips of top5 there too, say which are meant: video_dir='.../UCF-101'.",
        ),
        Source(
            "ucf101_top5.tar.gz",
            (
                "https://github.com/sayakpaul/Action-Recognition-in-TensorFlow/releases/download/v1.0.0/ucf101_top5.tar.gz",
            ),
            kind="videos",
            unpack="top5",
        ),
    ),
    "vatex": (
        *(
            Source(name, (f"https://eric-xw.github.io/vatex-website/data/{name}",))
            for name in (
                "vatex_training_v1.0.json",
                "vatex_validation_v1.0.json",
                "vatex_public_test_english_v1.1.json",
            )
        ),
        by_hand(
            "val_names.npy and tst_names.npy",
            "For retrieval_hgr: in the folder public_split of the annotations that https://github.com/cshizhe/hgr_v2t "
            "links to, on a sharing host.",
            kind="annotations",
        ),
        by_hand(
            "videos/<YouTube id>_<start>_<end>.mp4",
            "They are clips of Kinetics-600; fetch the ids that are left from YouTube. Start and end have six digits.",
        ),
    ),
    "visual_genome": (
        *(
            Source(f"{name}.json.zip", (f"{VISUAL_GENOME}/{name}.json.zip",))
            for name in ("region_descriptions", "question_answers", "image_data")
        ),
        *(
            Source(
                f"{name}.zip",
                (f"https://cs.stanford.edu/people/rak248/VG_100K_2/{name}.zip",),
                "videos",
                unpack="images",
            )
            for name in ("images", "images2")
        ),
    ),
    "vqa2": (
        *(
            Source(name, (f"{VQA}/{name}",))
            for name in (
                "v2_Questions_Train_mscoco.zip",
                "v2_Annotations_Train_mscoco.zip",
                "v2_Questions_Val_mscoco.zip",
                "v2_Annotations_Val_mscoco.zip",
                "v2_Questions_Test_mscoco.zip",
            )
        ),
        *coco_images("train2014", "val2014", "test2015"),
    ),
    "webvid": (
        by_hand(
            "results_2M_train.csv, results_2M_val.csv (or 10M) with videos beside them, or *.tar (WebDataset)",
            "No official address is left (https://github.com/m-bain/webvid); place the shards of a copy you hold.",
            kind="annotations",
            status="dead",
        ),
    ),
}
