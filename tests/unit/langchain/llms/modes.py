"""The six methods of an LLM as one function."""

from __future__ import annotations

ONE_PROMPT = ("invoke", "ainvoke", "stream", "astream")
MODES = (*ONE_PROMPT, "batch", "abatch")


async def ask(llm, mode, prompt="hi", config=None, **settings):
    """Return the text of the answer; a batch sends the prompt twice."""
    match mode:
        case "invoke":
            return llm.invoke(prompt, config, **settings)
        case "ainvoke":
            return await llm.ainvoke(prompt, config, **settings)
        case "stream":
            return "".join(llm.stream(prompt, config, **settings))
        case "astream":
            pieces = llm.astream(prompt, config, **settings)
            return "".join([piece async for piece in pieces])
        case "batch":
            return llm.batch([prompt, prompt], config, **settings)[0]
        case "abatch":
            return (await llm.abatch([prompt, prompt], config, **settings))[0]
