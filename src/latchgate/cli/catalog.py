"""``latchgate upstream`` and ``latchgate model``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from latchgate.cli.output import print_facts, print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place, read_secret

upstream = typer.Typer(help="Upstreams: the servers that answer for models.")
model = typer.Typer(help="Models on offer, and their prices.")

UpstreamName = Annotated[str, typer.Argument(metavar="NAME", help="The upstream's name.")]
ModelName = Annotated[
    str, typer.Argument(metavar="ID", help="The model's name, as callers give it.")
]
InputPrice = Annotated[
    str, typer.Option("--input-price", metavar="USD", help="USD per million input tokens: 0.15")
]
OutputPrice = Annotated[
    str, typer.Option("--output-price", metavar="USD", help="USD per million output tokens: 0.60")
]
CachedPrice = Annotated[
    str | None,
    typer.Option(
        "--cached-price",
        metavar="USD",
        help="USD per million cached input tokens; else as input tokens.",
    ),
]

_UPSTREAM_COLUMNS = (
    "name",
    "base_url",
    "has_credential",
    "is_enabled",
    "speaks",
    "extra_fields",
    "calls_at_once",
)
PRICE_COLUMNS = (
    "input_price",
    "cached_price",
    "output_price",
    "priority_input_price",
    "priority_cached_price",
    "priority_output_price",
)
_MODEL_COLUMNS = (
    "name",
    "upstream",
    "upstream_model",
    "kind",
    "takes_images",
    "tier",
    "is_offered",
    "context_tokens",
    "output_tokens_max",
    *PRICE_COLUMNS,
    "price_version",
)
#: What of a model has no column of its own in the list.
_LISTED_NOT = {"takes_images", *(name for name in PRICE_COLUMNS if name.startswith("priority_"))}


@upstream.command("add")
def upstream_add(
    name: UpstreamName,
    *,
    base_url: Annotated[
        str,
        typer.Option(
            "--base-url", metavar="URL", help="What an OpenAI SDK would be given: it ends in /v1."
        ),
    ],
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Read its API key from standard input.")
    ] = False,
    speaks: Annotated[
        list[str] | None,
        typer.Option(
            "--speaks",
            metavar="LIST",
            help="What it answers itself: chat, completions, responses, messages, embeddings. "
            "Else chat,completions,embeddings; messages alone is a server of Anthropic's kind.",
        ),
    ] = None,
    extra_field: Annotated[
        list[str] | None,
        typer.Option("--extra-field", metavar="F", help="One more request field that it takes."),
    ] = None,
    calls_at_once: Annotated[
        int | None,
        typer.Option(
            "--calls-at-once",
            metavar="N",
            help="How many calls it runs at once; more wait in line, priority ahead. Else all run.",
        ),
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take a model server into use."""
    api_key = read_secret("api-key", from_stdin=True) if api_key_stdin else None
    answer = Place(data, config, as_json).perform(
        "upstream.add",
        name=name,
        base_url=base_url,
        api_key=api_key,
        speaks=[word.strip() for words in speaks or () for word in words.split(",")],
        extra_fields=extra_field,
        calls_at_once=calls_at_once,
    )
    if as_json:
        return print_json(answer)
    return print_facts(answer, _UPSTREAM_COLUMNS)


@upstream.command("list")
def upstream_list(
    *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """List the model servers."""
    answer = Place(data, config, as_json).perform("upstream.list")
    if as_json:
        return print_json(answer)
    return print_table(
        answer["upstreams"],
        (*_UPSTREAM_COLUMNS, "created_at"),
        when_empty="There are no upstreams: latchgate upstream add NAME --base-url URL adds one.",
    )


@upstream.command("test")
def upstream_test(
    name: UpstreamName, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Ask a model server whether it is there and takes our key; exit 1 if not. It costs nothing."""
    answer = Place(data, config, as_json).perform("upstream.test", name=name)
    if as_json:
        print_json(answer)
    elif answer["works"]:
        print_line(f"{name} works: it answers, and takes the key that it is called with.")
    else:
        print_line(f"{name} does not work: {answer['problem']}.")
    if not answer["works"]:
        raise typer.Exit(1)


@upstream.command("key")
def upstream_key(
    name: UpstreamName, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Call a model server with another key from now on; it is read from standard input."""
    api_key = read_secret("api-key", from_stdin=not sys.stdin.isatty())
    answer = Place(data, config, as_json).perform("upstream.key", name=name, api_key=api_key)
    if as_json:
        return print_json(answer)
    return print_line(f"{name} is called with the new key from now on.")


@upstream.command("disable")
def upstream_disable(
    name: UpstreamName, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Take a model server's models off the list for a while; calls that run go on."""
    answer = Place(data, config, as_json).perform("upstream.disable", name=name)
    if as_json:
        return print_json(answer)
    return print_line(f"{name} is disabled: its models are not on offer.")


@upstream.command("enable")
def upstream_enable(
    name: UpstreamName, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Put the models of a disabled model server on offer again."""
    answer = Place(data, config, as_json).perform("upstream.enable", name=name)
    if as_json:
        return print_json(answer)
    return print_line(f"{name} is enabled: its models are on offer again.")


@upstream.command("remove")
def upstream_remove(
    name: UpstreamName, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Stop using a model server that serves no model on offer."""
    answer = Place(data, config, as_json).perform("upstream.remove", name=name)
    if as_json:
        return print_json(answer)
    return print_line(f"{name} is removed, and its credential with it.")


@model.command("add")
def model_add(
    name: ModelName,
    *,
    upstream_name: Annotated[
        str, typer.Option("--upstream", metavar="NAME", help="The upstream that answers for it.")
    ],
    input_price: InputPrice,
    context: Annotated[
        int, typer.Option("--context", metavar="TOKENS", help="Its context window, in tokens.")
    ],
    output_price: Annotated[
        str | None,
        typer.Option(
            "--output-price",
            metavar="USD",
            help="USD per million output tokens: 0.60. An embeddings model has none.",
        ),
    ] = None,
    cached_price: CachedPrice = None,
    upstream_model: Annotated[
        str | None,
        typer.Option("--upstream-model", metavar="NAME", help="Its name there, if it differs."),
    ] = None,
    max_output: Annotated[
        int | None,
        typer.Option("--max-output", metavar="TOKENS", help="The most it gives in one call."),
    ] = None,
    tier: Annotated[
        str, typer.Option("--tier", metavar="TIER", help="standard or premium")
    ] = "standard",
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="chat or embeddings")
    ] = "chat",
    images: Annotated[bool, typer.Option("--images", help="It can be shown images.")] = False,
    thinks: Annotated[
        bool, typer.Option("--thinks", help="It may think out of sight: hold all its output.")
    ] = False,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put a model on offer."""
    answer = Place(data, config, as_json).perform(
        "model.add",
        name=name,
        upstream=upstream_name,
        upstream_model=upstream_model,
        tier=tier,
        context_tokens=context,
        output_tokens_max=max_output,
        kind=kind,
        images=images,
        thinks=thinks,
        input_price=input_price,
        cached_price=cached_price,
        output_price=output_price,
    )
    if as_json:
        return print_json(answer)
    return print_facts(answer, _MODEL_COLUMNS)


@model.command("list")
def model_list(*, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False) -> None:
    """List the models on offer; prices are USD per million tokens."""
    answer = Place(data, config, as_json).perform("model.list")
    if as_json:
        return print_json(answer)
    shown = [
        {**row, "kind": "chat, images" if row["takes_images"] else row["kind"]}
        for row in answer["models"]
    ]
    return print_table(
        shown,
        [name for name in _MODEL_COLUMNS if name not in _LISTED_NOT],
        when_empty="There are no models: latchgate model add ID --upstream NAME … adds one.",
    )


@model.command("price")
def model_price(
    name: ModelName,
    *,
    input_price: InputPrice,
    output_price: OutputPrice,
    cached_price: CachedPrice = None,
    priority_percent: Annotated[
        int | None,
        typer.Option(
            "--priority-percent",
            metavar="N",
            help="What a call of service_tier priority costs of it, in percent; else as the "
            "setting gateway.priority_price_percent says.",
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MOMENT",
            help="From when on it is in force, in UTC, such as 2027-01-31T18:00; else from now on.",
        ),
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give a model a new price, for every call from now on or from a later moment."""
    answer = Place(data, config, as_json).perform(
        "model.price",
        name=name,
        input_price=input_price,
        cached_price=cached_price,
        output_price=output_price,
        priority_percent=priority_percent,
        **({"effective_from": from_} if from_ else {}),
    )
    if as_json:
        return print_json(answer)
    if from_:
        print_line(f"{name} has another price from {from_} UTC. Until then:")
    return print_facts(answer, ("name", *PRICE_COLUMNS, "price_version"))


@model.command("remove")
def model_remove(
    name: ModelName, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Take a model off the list."""
    answer = Place(data, config, as_json).perform("model.remove", name=name)
    if as_json:
        return print_json(answer)
    return print_line(f"{name} is removed.")
