"""Commands: ``python -m wsoak COMMAND``, a module each, imported when it is called for.

- ``check``      the checks before a load, alone
- ``routes``     which WebSocket paths a server answers
- ``token``      mint a JSON Web Token
- ``clean``      remove what a run left on the server
- ``locustfile`` the user classes that a command line names, and wsoak's options
- ``exits``      exit codes, and refusals in one sentence
"""
