"""A shop's work in the background: one queue for the tasks of all its customers."""

import os
import time
from pathlib import Path

from celery import Celery, Task, chord
from taketurns import TakeTurns, TenantTask

app = Celery("shop")  # CELERY_BROKER_URL and CELERY_RESULT_BACKEND tell where
app.conf.update(
    task_routes={"shop.send_receipt": {"queue": "emails"}},
    beat_schedule={
        "statements": {"task": "shop.send_statements", "schedule": 2.0},
        "stock": {"task": "shop.count_stock", "schedule": 2.0, "kwargs": {"customer": "tiny"}},
    },
)
BOOK = Path(os.environ.get("SHOP_BOOK", "book.txt"))


def write(line):
    """Write down what has been done."""
    with BOOK.open("a") as book:
        book.write(f"{time.time():.3f} {line}\n")


def customer_of(task, args, kwargs, headers=None):
    """Tell whose task this is; None for the shop's own."""
    return kwargs.get("customer")


TakeTurns(app, tenant_resolver=customer_of)


class Reporting:
    """What failed is written down, and whom that is for."""

    alarm = "office"

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        write(f"{self.name} failed for {customer_of(self.name, args, kwargs)}: tell the {self.alarm}")
        super().on_failure(exc, task_id, args, kwargs, einfo)


class HouseTask(Reporting, Task):
    """A task of the shop's own."""

    alarm = "caretaker"


class CustomerTask(Reporting, TenantTask):
    """A task for one of its customers."""


@app.task(base=CustomerTask)
def resize(image, *, customer):
    time.sleep(0.05)
    write(f"resize {image} for {customer}")
    return image


@app.task(base=CustomerTask)
def publish(images, *, customer):
    write(f"publish {len(images)} images for {customer}")


@app.task(base=CustomerTask)
def charge(amount, *, customer):
    if amount > 1000:
        raise ValueError(f"{amount} is too much")
    write(f"charge {amount} for {customer}")


@app.task(base=CustomerTask)
def count_stock(*, customer):
    write(f"stock for {customer}")


@app.task(base=CustomerTask)
def send_statement(*, customer):
    write(f"statement for {customer}")


@app.task(base=HouseTask)
def send_statements():
    for customer in ("big", "small"):
        send_statement.delay(customer=customer)


@app.task(base=HouseTask)
def send_receipt(amount, *, customer):
    write(f"receipt over {amount} for {customer}")


def import_catalogue(customer, images):
    """Called by the shop's web pages: resize all images, and then publish them."""
    chord([resize.s(image, customer=customer) for image in images], publish.s(customer=customer))()


def sell(amount, customer):
    """Called by the shop's web pages."""
    charge.delay(amount, customer=customer)
    send_receipt.apply_async((amount,), {"customer": customer})
