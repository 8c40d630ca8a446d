"""Records of the papers: bibliography, published numbers with their sources, and claims."""

from collections.abc import Collection, Iterable
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from reprood.audit.claims import Arm, Claim
from reprood.audit.experiments import Experiment
from reprood.audit.published import Published, measured_metric
from reprood.audit.settings import Difference, Measurement, Setting
from reprood.config.benchmark import Benchmark
from reprood.config.records import Line, Record, check_name
from reprood.config.suite import Suite
from reprood.core.errors import ReproodError
from reprood.core.messages import explain_validation
from reprood.core.yaml import read_yaml

MAIN_CLAIMS = 6  # of a paper; tested together


class Paper(Record):
    """One paper: `config/papers/<id>.yaml`.

    Attributes
    ----------
    id : str
        The file's name without its ending.
    name : str
        Short name of the method; "": the title up to a colon.
    title, authors, venue, year : str, int
        Bibliography.
    arxiv : str
        Number on arXiv; "" for none.
    code, code_licence : str
        Address of the authors' code and its licence; "" for none.
    summary : str
        What the paper claims, in two sentences.
    method : str
        How the method works.
    arms : dict of Arm
        What the names of methods in the suites mean in this paper.
    settings : dict of Setting
        Settings of the published numbers, by the text under which numbers name them or by the id of a single number.
    published : tuple of Published
        Published numbers with their sources.
    claims : tuple of Claim
        What is tested.
    experiments : tuple of Experiment
        The paper's families of experiments and where each is run.
    """

    id: str
    name: Line = ""
    title: Line
    authors: Line
    venue: Line
    year: int
    arxiv: str = ""
    code: str = ""
    code_licence: str = ""
    summary: str
    method: str
    arms: dict[str, Arm]
    settings: dict[str, Setting] = {}
    published: tuple[Published, ...] = ()
    claims: tuple[Claim, ...] = Field(min_length=1)
    experiments: tuple[Experiment, ...] = ()

    @property
    def short(self) -> str:
        """Name of the paper's method: `name`, or the title up to a colon."""
        return self.name or self.title.split(":")[0]

    @model_validator(mode="after")
    def _ids(self) -> "Paper":
        for what, ids in (("published", [p.id for p in self.published]), ("claims", [c.id for c in self.claims])):
            doubled = sorted({i for i in ids if ids.count(i) > 1})
            if doubled:
                raise ValueError(f"{what}: the id '{doubled[0]}' is used twice")
            for name in ids:
                check_name(name, f"{what} id")
        known = {p.id for p in self.published}
        for claim in self.claims:
            for name in claim.published:
                if name not in known:
                    raise ValueError(f"claim {claim.id}: there is no published number '{name}'")
                if not claim.study and measured_metric(self.number(name).metric) != claim.metric:
                    raise ValueError(f"claim {claim.id}: the published number '{name}' is not of {claim.metric}")
            if claim.published and len(claim.published) != len(claim.sides):
                raise ValueError(
                    f"claim {claim.id}: {len(claim.sides)} sides need as many published numbers, "
                    f"not {len(claim.published)}"
                )
        claims = {claim.id for claim in self.claims}
        for number in self.published:
            if number.than and number.than not in known:
                raise ValueError(f"published {number.id}: there is no published number '{number.than}'")
            for name in number.against:
                if name not in claims:
                    raise ValueError(f"published {number.id}: there is no claim '{name}'")
        return self

    @model_validator(mode="after")
    def _experiments(self) -> "Paper":
        claims, numbers = {c.id for c in self.claims}, {p.id for p in self.published}
        for experiment in self.experiments:
            for what, names, known in (
                ("claim", experiment.claims, claims),
                ("published number", experiment.published, numbers),
            ):
                for name in names:
                    if name not in known:
                        raise ValueError(f"experiment '{experiment.title}': there is no {what} '{name}'")
        return self

    def numbers_of(self, experiment: Experiment) -> list[Published]:
        """Return the published numbers of an experiment: those of its claims, then its own."""
        claims = (claim for claim in self.claims if claim.id in experiment.claims)
        names = dict.fromkeys((*(name for claim in claims for name in claim.published), *experiment.published))
        return [self.number(name) for name in names]

    @model_validator(mode="after")
    def _main_claims(self) -> "Paper":
        main = [claim for claim in self.claims if not claim.exploratory and claim.kind != "equals"]
        if len(main) > MAIN_CLAIMS:
            raise ValueError(
                f"{len(main)} claims are not marked 'exploratory', and at most {MAIN_CLAIMS} are main claims"
            )
        return self

    @model_validator(mode="after")
    def _arms(self) -> "Paper":
        named = {f"claim {c.id}": [side.method for side in c.sides] for c in self.claims if not c.study}
        named |= {f"published {p.id}": [p.measured_by] for p in self.published if p.measured_by}
        for where, names in named.items():
            for name in names:
                if name not in self.arms:
                    raise ValueError(f"{where}: there is no arm '{name}'; known under 'arms': {', '.join(self.arms)}")
        return self

    def method_of(self, arm: str, ran: Collection[str]) -> str | None:
        """Return the method of an arm among those that ran; None if there is none."""
        return next((name for name in (arm, *self.arms[arm].also) if name in ran), None)

    def number(self, name: str) -> Published:
        """Return the published number with an id."""
        return next(p for p in self.published if p.id == name)

    def setting_of(self, number: Published) -> Setting | None:
        """Return the setting of a published number, described by its id or by its text; None if it is not described."""
        return self.settings.get(number.id) or self.settings.get(number.setting)

    def auxiliary_of(self, number: Published) -> tuple[str, ...]:
        """Return the auxiliary set, if any, that the arm of a published number learns from."""
        arm = self.arms.get(number.measured_by)
        return (arm.auxiliary,) if arm is not None and arm.auxiliary else ()

    def split_on(self, number: Published, benchmark: Benchmark) -> str:
        """Return the split of a benchmark on which a published number is measured."""
        setting = self.setting_of(number)
        named = setting.split if setting is not None and number.score != "-" else ""
        return named if named in (*benchmark.ood, *benchmark.means) else number.split

    def compared(self, number: Published, measured: Measurement, split: str | None = None) -> list[Difference]:
        """Return how a measurement differs from the setting of a published number (see `settings.attached`).

        `split` is the OOD set or mean that is measured; default: that of the number.
        """
        setting = self.setting_of(number)
        if setting is None:
            return [Difference("unknown", f"the published setting ({number.setting}) is not described")]
        if split is None:
            split = self.split_on(number, measured.benchmark) if number.score != "-" else ""
        return setting.differences(measured, split, number.metric)


def judged_files(paths: Iterable[Path], suite: Suite) -> list[Path]:
    """Return the files of the papers that a suite or a selection of one judges, sorted."""
    return sorted(path for path in paths if not suite.papers or path.stem in suite.papers)


def load_papers(paths: Iterable[Path]) -> list[Paper]:
    """Read the papers' files.

    Raises
    ------
    ReproodError
        If a file is invalid; the message names the file and the key.
    """
    papers = []
    for path in paths:
        try:
            paper = Paper.model_validate(read_yaml(Path(path)))
        except ValidationError as error:
            raise ReproodError(explain_validation(error, str(path))) from error
        if paper.id != Path(path).stem:
            raise ReproodError(f"{path}: id is '{paper.id}'; expected the file's name, '{Path(path).stem}'.")
        papers.append(paper)
    return papers
