"""A repo on the Hub: its content at a commit, the few calls that change it, and one sentence for each refusal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eva_data import __version__
from eva_data.errors import ConfigError, HubError
from eva_data.files import sha256
from eva_data.models.keys import without_keys

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

_SHA256_LENGTH = 64


@dataclass(frozen=True)
class Snapshot:
    """A repo at one commit."""

    commit: str
    private: bool
    files: Mapping[str, str]
    """Name -> hash of the file: the SHA-256 if it is in large-file storage, else git's blob id."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Name -> size of the file, in bytes."""

    def holds(self, name: str, path: Path) -> bool:
        """Whether the repo has a file `name` with the same content as the file at `path`."""
        content = self.files.get(name)
        if content is None:
            return False
        if len(content) == _SHA256_LENGTH:
            return content == sha256(path)
        from huggingface_hub.utils.sha import git_hash

        return content == git_hash(path.read_bytes())

    def after(self, files: Mapping[str, Path]) -> Snapshot:
        """The snapshot after these files are added."""
        return replace(self, files={**self.files, **{name: sha256(path) for name, path in files.items()}})


@dataclass(frozen=True)
class HubRepo:
    """A repo, existing or not, as the login of this machine (or `token`) sees it.

    Every method raises HubError, with one sentence and without a token in it, if the Hub refuses or cannot be reached.
    """

    name: str
    token: str | None = None
    kind: Literal["dataset", "model"] = "dataset"

    def __post_init__(self) -> None:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(self.name)
        except HFValidationError as error:
            raise ConfigError(f"`{self.name}` cannot be a repo on the Hub: {error}") from None
        if "/" not in self.name:
            raise ConfigError(f"`{self.name}` does not say whose repo it is: write it as owner/{self.name}")

    @cached_property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.utils import disable_progress_bars, logging

        # The library would print each of its retries. Our errors tell the result.
        logging.set_verbosity_error()
        if not sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
            disable_progress_bars()
        return HfApi(token=self.token, library_name="eva-data", library_version=__version__)

    @property
    def url(self) -> str:
        return f"{self._api.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def refuse_without_login(self) -> None:
        """Raise HubError if there is no token at all. Only the Hub knows whether a token is valid."""
        from huggingface_hub import get_token

        if self.token is None and get_token() is None:
            raise HubError(
                f"nobody is logged in to the Hub, so {self.name} cannot be written to: log in with `hf auth login`, or "
                "set HF_TOKEN"
            )

    def login(self) -> str:
        """The name of the login. Raise HubError if there is none, or if the Hub does not take its token."""
        self.refuse_without_login()
        with self._asking():
            return str(self._api.whoami()["name"])

    def licence(self) -> str | None:
        """The licence, by the Hub's name, that the repo's card states; None if it states none."""
        with self._asking():
            card = getattr(self._api.repo_info(self.name, repo_type=self.kind), "card_data", None) or {}
        stated = card.get("license_name") or card.get("license")
        return ", ".join(stated) if isinstance(stated, list) else None if stated is None else str(stated)

    def may_read(self) -> bool:
        """Whether the repo is there for this login, with its terms accepted."""
        from huggingface_hub.errors import RepositoryNotFoundError

        with self._asking():
            try:
                self._api.auth_check(self.name, repo_type=self.kind)
            except RepositoryNotFoundError as error:
                # A gated repo is there, and the Hub says in its answer what to accept.
                if type(error) is not RepositoryNotFoundError:
                    raise
                return False
        return True

    def look(self, revision: str | None = None) -> Snapshot | None:
        """The repo at a revision, else at the head of main; None if this login sees no such repo.

        Raise HubError if the repo has no such revision.
        """
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
        from huggingface_hub.hf_api import RepoFile

        with self._asking():
            try:
                info = self._api.repo_info(self.name, revision=revision, repo_type=self.kind)
                assert info.sha is not None
                tree = self._api.list_repo_tree(self.name, recursive=True, revision=info.sha, repo_type=self.kind)
                files = [entry for entry in tree if isinstance(entry, RepoFile)]
            except GatedRepoError:
                raise
            except RevisionNotFoundError:
                known = ", ".join(self.tags()) or "no tags"
                raise HubError(
                    f"{self.name} has no revision `{revision}`: it has {known}; name one of them, or `main`", 404
                ) from None
            except RepositoryNotFoundError:
                return None
        content = {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}
        return Snapshot(info.sha, bool(info.private), content, {file.path: file.size for file in files})

    def tags(self) -> list[str]:
        """The names of all tags."""
        with self._asking():
            return [tag.name for tag in self._api.list_repo_refs(self.name, repo_type=self.kind).tags]

    def create(self, *, private: bool) -> Snapshot:
        """Create the repo unless it exists, and return it."""
        with self._asking():
            self._api.create_repo(self.name, repo_type=self.kind, private=private, exist_ok=True)
        found = self.look()
        if found is None:
            raise HubError(f"{self.name} was created, but the Hub does not show it yet: repeat the command")
        return found

    def commit(self, files: Mapping[str, Path], message: str, *, parent: str) -> str:
        """Put all files into one commit on main, whose head must be `parent`, and return the commit."""
        from huggingface_hub import CommitOperationAdd

        operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        with self._asking():
            try:
                done = self._api.create_commit(
                    self.name, operations, commit_message=message, repo_type=self.kind, parent_commit=parent
                )
            except ValueError as error:
                if "README.md" not in str(error):
                    raise
                reason = " ".join(str(error).split())
                raise HubError(
                    f"the Hub refuses the card, so nothing was published: {reason}; is the licence a name that the Hub "
                    "knows?"
                ) from None
        assert done.oid is not None
        return done.oid

    def tag(self, name: str, commit: str) -> None:
        """Give a commit a tag, which must be new."""
        with self._asking():
            self._api.create_tag(self.name, tag=name, revision=commit, repo_type=self.kind)

    def download(self, name: str, commit: str, folder: Path) -> None:
        """Download a file as of a commit to its own name in `folder`, unless it is there already."""
        with self._asking(), warnings.catch_warnings():
            # If the disk is full, the error that follows says so.
            warnings.filterwarnings("ignore", "Not enough free disk space")
            self._api.hf_hub_download(self.name, name, repo_type=self.kind, revision=commit, local_dir=folder)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        import httpx
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, XetDownloadError

        try:
            yield
        except HubError:
            raise
        # Failures of uploads and downloads are wrapped: LFS raises RuntimeError, and the cache FileNotFoundError when
        # there is no local copy either.
        except (httpx.HTTPError, XetDownloadError, OSError, RuntimeError) as error:
            for cause in _causes(error):
                if isinstance(cause, HfHubHTTPError):
                    raise self._refusal(cause) from None
                if isinstance(cause, OfflineModeIsEnabled):
                    raise HubError("HF_HUB_OFFLINE is set, so the Hub cannot be asked: unset it, then repeat") from None
                if isinstance(cause, httpx.HTTPError | ConnectionError):
                    raise self._unreachable(cause) from None
            # Xet raises its own errors or RuntimeError. All other errors come from this machine's disk.
            if isinstance(error, XetDownloadError | RuntimeError) or type(error).__module__.startswith("hf_xet"):
                raise self._unreachable(error) from None
            raise

    def _refusal(self, error: HfHubHTTPError) -> HubError:
        status = error.response.status_code
        said = self._clean(error.server_message or error.response.reason_phrase)
        sentences = {
            401: f"the Hub refuses the login (401: {said}): log in anew with `hf auth login`, or set HF_TOKEN",
            403: f"this login may not do that to {self.name} (403: {said}): use a token that may write there, or "
            "name a repo of your own",
            404: f"{self.name} is not on the Hub, or not for this login (404: {said}): check the name and log in",
            412: f"{self.name} got another commit meanwhile (412: {said})",
        }
        general = f"the Hub answered {status} for {self.name} ({said}): repeat the command, nothing is done twice"
        return HubError(sentences.get(status, general), status)

    def _unreachable(self, error: BaseException) -> HubError:
        reason = self._clean(" ".join(str(error).split()) or type(error).__name__)
        return HubError(
            f"the Hub at {self._api.endpoint} cannot be reached ({reason}): check the network and repeat the command; "
            "what was finished is kept"
        )

    def _clean(self, text: str) -> str:
        from huggingface_hub import get_token

        return without_keys(text, self.token or get_token())[:300]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
