"""A FastAPI application with the profile routes beside its own: `uvicorn service:app`."""

from fastapi import FastAPI
from profile_routes import router

app = FastAPI(title="shop")
app.include_router(router)  # the session opens and closes with the application


@app.get("/health")
async def health() -> str:
    return "ok"
