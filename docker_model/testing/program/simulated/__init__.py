"""What `docker` and its plugin `docker model` do, as far as a calling program can see.

`/` in a comment or docstring of these modules is the path of an HTTP request to the runner.
None of them may import `re`, `json`, `socket`, `signal` or anything else that imports `enum`
on the way to an answer: that would more than double the time to start. The C modules below
those (`_socket`, `_json`, `_signal`) cost nothing and are as old and as stable as they are.
"""
