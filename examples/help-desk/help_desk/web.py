"""The desk's routes: the chat for visitors, the pages, and the transcripts for the business."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
from email_validator import EmailNotValidError, validate_email
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from help_desk.answering import Answerer, Reply
from help_desk.documents import Passage
from help_desk.guard import Door, Guard, address_of, fields_of, text_of
from help_desk.mail import MailError, keep, letter, send
from help_desk.search import Index
from help_desk.settings import Settings
from help_desk.transcripts import CONVERSATIONS_PER_PAGE, Line, Transcripts, open_database
from help_desk.troubles import AWAY, Refusal, advice
from help_desk.visitors import DAY_S, MINUTE_S, Counter, Rule

HERE = Path(__file__).parent
QUESTION_CHARS_MAX = 500
LETTER_CHARS_MAX = 2_000
EMAIL_CHARS_MAX = 254
QUESTIONS_AT_ONCE_MAX = 8
WRONG_TRIES_PER_MINUTE = 5
PAGE_NUMBER_MAX = 10_000
log = logging.getLogger("uvicorn.error")


class Desk:
    """The handlers, with what they share."""

    def __init__(self, settings: Settings) -> None:
        terms = settings.latchgate
        self._settings = settings
        self._conn = open_database(str(settings.data / "help-desk.db"))
        self._transcripts = Transcripts(self._conn)
        self._sdk = openai.AsyncOpenAI(
            base_url=terms.base_url,
            api_key=terms.key,
            timeout=openai.Timeout(60.0, connect=5.0),
            max_retries=0,  # a visitor is told at once, and not after a silent wait
            default_headers={"X-Title": "Help desk"},
        )
        self._index = Index(self._sdk, terms.embedding_model, settings.documents, self._conn)
        self._answerer = Answerer(self._sdk, self._index, settings.business, terms)
        per_minute = Rule(settings.visitors.questions_per_minute, MINUTE_S)
        per_day = Rule(settings.visitors.questions_per_day, DAY_S)
        self._questions = Counter(per_minute, per_day, clock=time.monotonic)
        letters = Rule(settings.visitors.letters_per_day, DAY_S)
        self._letters = Counter(letters, clock=time.monotonic)
        wrong_tries = Counter(Rule(WRONG_TRIES_PER_MINUTE, MINUTE_S), clock=time.monotonic)
        self._door = Door(settings.password, wrong_tries)
        self._free = asyncio.Semaphore(QUESTIONS_AT_ONCE_MAX)
        self._trouble = ""
        self._templates = Jinja2Templates(HERE / "templates")
        self._templates.env.filters["usd"] = _usd
        self._templates.env.filters["when"] = _when

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Read the pages before the first visitor comes; close everything after the last."""
        self._index.read_pages()
        self._transcripts.forget_older_than(self._settings.transcript_days_max)
        log.info(
            "Transcripts: /transcripts; the password is in %s/password unless you chose one",
            self._settings.data,
        )
        indexing = asyncio.create_task(self._prepare())
        async with self._sdk:
            yield
            indexing.cancel()
        self._conn.close()

    async def _prepare(self) -> None:
        try:
            cost_nanos = await self._index.refresh()
        except openai.APIError as error:
            self._note(advice(error, self._settings.latchgate.base_url))
        else:
            log.info("Read %d pages for %s", len(self._index.pages), _usd(cost_nanos))

    def _note(self, trouble: str) -> None:
        """Say a trouble where the business sees it: in the log and above the transcripts."""
        self._trouble = f"{_when(int(time.time()))}: {trouble}"
        log.error("%s", trouble)

    # ── visitors ────────────────────────────────────────────────────────────────────────────────
    async def show_site(self, request: Request) -> Response:
        """A page of a business's site, to try the chat on."""
        return self._page(request, "site.html", pages=self._index.pages.values())

    async def send_script(self, _: Request) -> Response:
        """The one script that a site includes."""
        return FileResponse(HERE / "static" / "help-desk.js")

    async def show_chat(self, request: Request) -> Response:
        """The chat, as it stands in its frame."""
        return self._page(
            request,
            "chat.html",
            question_chars_max=QUESTION_CHARS_MAX,
            letter_chars_max=LETTER_CHARS_MAX,
        )

    async def show_page(self, request: Request) -> Response:
        """One of the business's pages: what answers cite."""
        self._index.read_pages()
        page = self._index.pages.get(request.path_params["name"])
        if page is None:
            raise HTTPException(404)
        return self._page(request, "page.html", page=page)

    async def ask(self, request: Request) -> Response:
        """Answer a question, from the pages or not at all."""
        fields = await fields_of(request)
        question = text_of(fields, "question", QUESTION_CHARS_MAX)
        if not question:
            raise Refusal("missing", "Please type a question.", 400, "question")
        wait_s = self._questions.count(address_of(request))
        if wait_s:
            raise Refusal("too_many", f"Please wait {_wait(wait_s)} before you ask again.", 429)
        if self._free.locked():
            raise Refusal("busy", "Many people ask just now. Try again in a moment.", 503)
        conversation = self._open(fields)
        self._transcripts.add(conversation, Line("visitor", "question", question))
        try:
            async with self._free:
                reply = await self._answerer.answer(question)
        except openai.APIError as error:
            self._note(advice(error, self._settings.latchgate.base_url))
            self._transcripts.add(conversation, Line("desk", "failed", AWAY))
            away = {"conversation": conversation, "code": "away", "message": AWAY}
            return JSONResponse(away, 503)
        if reply.trouble:
            self._note(advice(reply.trouble, self._settings.latchgate.base_url))
        line = _line_of(reply)
        self._transcripts.add(conversation, line)
        answer: dict[str, object] = {
            "conversation": conversation,
            "kind": line.kind,
            "text": line.text,
        }
        if reply.passage:
            answer["quote"] = reply.passage.text
            answer["sources"] = [_source(each) for each in (reply.passage, *reply.also)]
        return JSONResponse(answer)

    async def write_letter(self, request: Request) -> Response:
        """Hand the visitor over to a person. It works also when Latchgate does not."""
        fields = await fields_of(request)
        message = text_of(fields, "message", LETTER_CHARS_MAX)
        if not message:
            raise Refusal("missing", "Please say what it is about.", 400, "message")
        try:
            typed = text_of(fields, "email", EMAIL_CHARS_MAX)
            visitor = validate_email(typed, check_deliverability=False).normalized
        except EmailNotValidError as error:
            sentence = "That is not an address that we can write back to."
            raise Refusal("invalid", sentence, 400, "email") from error
        wait_s = self._letters.count(address_of(request))
        if wait_s:
            raise Refusal("too_many", f"Please wait {_wait(wait_s)} before you write again.", 429)
        conversation = self._open(fields)
        mail, outbox = self._settings.mail, self._settings.data / "outbox"
        lines = self._transcripts.lines(conversation)
        written = letter(mail, visitor=visitor, message=message, lines=lines)
        try:
            if mail.smtp_host:
                await send(written, mail)
            else:
                keep(written, outbox)
        except MailError as error:  # what a visitor wrote is never lost
            keep(written, outbox)
            self._note(f"A letter could not be mailed and is in {outbox}: {error}")
        handed_over = f"{visitor} wrote a letter: {message}"
        self._transcripts.add(conversation, Line("visitor", "handed_over", handed_over))
        return JSONResponse({"conversation": conversation})

    def _open(self, fields: dict[str, object]) -> str:
        self._transcripts.forget_older_than(self._settings.transcript_days_max)
        return self._transcripts.open(text_of(fields, "conversation", 64))

    # ── the business ────────────────────────────────────────────────────────────────────────────
    async def list_transcripts(self, request: Request) -> Response:
        """What visitors asked, newest first; and what is wrong with the desk, if anything is."""
        if refused := self._door.refuse(request):
            return refused
        number = request.query_params.get("page", "0")
        page = min(int(number), PAGE_NUMBER_MAX) if re.fullmatch("[0-9]{1,6}", number) else 0
        only_unknown = request.query_params.get("only") == "unknown"
        found = self._transcripts.list_newest(page=page, only_unknown=only_unknown)
        return self._page(
            request,
            "transcripts.html",
            conversations=found[:CONVERSATIONS_PER_PAGE],
            number=page,
            has_more=len(found) > CONVERSATIONS_PER_PAGE,
            only_unknown=only_unknown,
            trouble=self._trouble,
        )

    async def show_transcript(self, request: Request) -> Response:
        """One conversation, with the nearness and the cost of each answer."""
        if refused := self._door.refuse(request):
            return refused
        lines = self._transcripts.lines(request.path_params["id"])
        if not lines:
            raise HTTPException(404)
        return self._page(request, "transcript.html", lines=lines)

    def _page(self, request: Request, template: str, **values: object) -> Response:
        return self._templates.TemplateResponse(
            request, template, {"settings": self._settings, **values}
        )


def _line_of(reply: Reply) -> Line:
    kind = "unknown" if reply.passage is None else "quoted" if reply.is_quote else "answered"
    link = reply.passage.link if reply.passage else ""
    return Line("desk", kind, reply.text, link, reply.similarity, reply.cost_nanos)


def _source(passage: Passage) -> dict[str, str]:
    names = dict.fromkeys([passage.title, passage.heading])  # once, if they are the same
    return {"name": " › ".join(names), "link": passage.link}


def _usd(nanos: int) -> str:
    """USD from whole nano-dollars, exactly."""
    whole, rest = divmod(nanos, 10**9)
    return f"${whole}.{f'{rest:09d}'.rstrip('0'):0<2}"


def _when(at_s: int) -> str:
    return time.strftime("%d %b %Y, %H:%M", time.localtime(at_s))


def _wait(wait_s: int) -> str:
    return f"{wait_s} s" if wait_s < 2 * MINUTE_S else f"{wait_s // MINUTE_S} minutes"


async def _send_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 — what it is registered for
    content = {"code": error.code, "message": error.message, "field": error.field}
    return JSONResponse(content, error.status)


def make_app(settings: Settings) -> Starlette:
    """The application of one business."""
    desk = Desk(settings)
    return Starlette(
        routes=[
            Route("/", desk.show_site),
            Route("/help-desk.js", desk.send_script),
            Route("/chat", desk.show_chat),
            Route("/chat/question", desk.ask, methods=["POST"]),
            Route("/chat/letter", desk.write_letter, methods=["POST"]),
            Route("/pages/{name}", desk.show_page),
            Route("/transcripts", desk.list_transcripts),
            Route("/transcripts/{id}", desk.show_transcript),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        lifespan=desk.lifespan,
        middleware=[Middleware(Guard, sites=settings.sites)],
        exception_handlers={Refusal: _send_refusal},
    )
