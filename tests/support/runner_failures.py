"""Replies of a real runner of v1.2.6 when a registry or the engine failed."""

# The first line of a pull from Hugging Face, before a request to it.
LISTING = (
    b'{"type":"progress","message":"Fetching file list...","total":0,'
    b'"layer":{"size":0,"current":0},"mode":"pull"}\n'
)

# Replies with status 500, after llama-server received SIGKILL.

_LOADING = (
    "unable to load runner: error waiting for runner to be ready: "
    "llama.cpp terminated unexpectedly: llama.cpp "
)
KILLED_AT_ITS_START = f"{_LOADING}exit status: signal: killed\n"
KILLED_WHILE_LOADING = (
    f"{_LOADING}failed: warning: no usable GPU found, --gpu-layers option will be ignored\n"
    "warning: one possible reason is that llama.cpp was compiled without GPU support\n"
    "warning: consult docs/build.md for compilation instructions\n"
    "0.00.006.434 I srv  llama_server: initializing ...\n"
    "0.00.006.474 I cmn  common_param: common_params_print_info: verbosity = 3 (adjust with the "
    "`-lv N` CLI arg)\n"
    "0.00.006.657 W srv  llama_server: security: no API key is set and CORS allows all origins "
    "(see https://github.com/ggml-org/llama.cpp/pull/25655)\n"
    "0.00.008.412 I srv    load_model: loading model '/models/bundles/sha256/9c94/model.gguf'\n\n"
)
# The end of the log contains the failure of an earlier request, which is not the cause.
KILLED_WHILE_ANSWERING = (
    '{"type":"error","code":null,"message":"llama.cpp terminated unexpectedly: llama.cpp failed: '
    "0.05.896.290 I slot get_availabl: id  3 | task -1 | selected slot by LRU, t_last = -1\\n"
    "0.05.237.673 I srv  llama_server: model loaded\\n"
    '0.05.845.722 W srv    operator(): got exception: {\\"error\\":{\\"code\\":500,\\"message\\":'
    '\\"image input is not supported - hint: if this is unexpected, you may need to provide the '
    'mmproj\\",\\"type\\":\\"server_error\\"}}\\n","param":null,"sequence_number":1}'
)
# The messages of llama-server under limits of its address space, lowest limit first.
OUT_OF_MEMORY = [
    f"{_LOADING}failed: {words}\n"
    for words in (
        "0.00.806.664 E ggml_aligned_malloc: insufficient memory (attempted to allocate  41.96 MB)",
        "0.01.017.348 E alloc_tensor_range: failed to allocate CPU buffer of size 188743680",
        (
            "failed to load model\n\nVerbose output:\n0.01.080.398 E llama_model_load: error "
            "loading model: mmap failed: Cannot allocate memory"
        ),
        (
            "0.01.072.819 E llama_init_from_model: failed to initialize the context: failed to "
            "allocate buffer for kv cache"
        ),
    )
]
